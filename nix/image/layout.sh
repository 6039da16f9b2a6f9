# shellcheck shell=bash
# Where everything lies on the card: the one place for sizes and identities. Sourced by root.sh, boot.sh and disk.sh.
# Fixed identities make the image the same each time; they name no device: what tells devices apart is made on the device.

MIB=$((1024 * 1024))
# MBR, not GPT: every boot loader of a Pi 4 starts from it. PARTUUID is SIGNATURE-0N.
disk_signature=4455504c
root_uuid=6475706c-6578-4000-8000-000000000005
verity_salt=6475706c6578
boot_serial=44555042
bootsel_serial=44555041
data_uuid=6475706c-6578-4000-8000-000000000007
data_hash_seed=6475706c-6578-4000-8000-000000000017

# MiB. Slots are larger than what is in them: updates must fit for years, and the layout cannot change. The two boot slots lie
# within zstd's 128 MiB window of each other, so that the packed image has what is in them once; Raspberry Pi Imager unpacks no
# larger window.
bootsel_at=4 bootsel_size=64
boot_a_at=68 boot_size=96 boot_b_at=164
extended_at=260
# The first 4 MiB before a logical partition hold its entry of the chain.
root_a_at=264 root_size=384 root_b_at=652
data_at=1040 data_size=64
disk_size=1104
