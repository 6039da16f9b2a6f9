#!/usr/bin/env bash
# Makes the boot slot: firmware, device trees, kernel, initramfs, and the command line with the hash of the root that belongs to it.
#
#   kernel_debs=... firmware_debs=... initramfs=FILE verity=FILE version=X SOURCE_DATE_EPOCH=N out=FOLDER nix/image/boot.sh
#
# In: these variables. Out: boot.vfat in $out. Needs dpkg-deb's formats (python3), mkfs.fat, mtools, gzip.
case ${1-} in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export LC_ALL=C TZ=UTC MTOOLS_SKIP_CHECK=1 PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=nix/image/layout.sh
. "$here/layout.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/slot"

# Everything that is Debian's, by the table `slot` of rootfs/kernel.toml: what is listed there, the list of packages counts. And config.txt.
# shellcheck disable=SC2086
python3 "$here/extract.py" "$work/slot" $kernel_debs $firmware_debs
# The firmware unpacks gzip and nothing else. Debian's kernel is not packed; a board maker's may be.
case $(od -An -tx1 -N8 "$work/slot/vmlinuz" | tr -d ' \n') in
  1f8b*) cp "$work/slot/vmlinuz" "$work/slot/kernel.img" ;;
  4d5a????7a696d67) echo "error: this kernel unpacks itself by EFI (CONFIG_EFI_ZBOOT), which a Raspberry Pi's firmware does not start" >&2; exit 1 ;;
  *) gzip -9nc "$work/slot/vmlinuz" >"$work/slot/kernel.img" ;;
esac
rm "$work/slot/vmlinuz"
cp "$initramfs" "$work/slot/initramfs.img"
# No console=: the board's tree names its serial port, and what a person must see is written to the screen as well.
printf 'duplex.disk=%s duplex.verity=%s panic=10 quiet loglevel=4 lsm=landlock,yama net.ifnames=0 systemd.show_status=0\n' \
  "$disk_signature" "$(cat "$verity")" >"$work/slot/cmdline.txt"
printf '{"version": "%s", "verity": "%s"}\n' "$version" "$(cat "$verity")" >"$work/slot/release.json"

"$here/fat.sh" "$out/boot.vfat" "$boot_size" "$boot_serial" DUPLEXBOOT "$work/slot"
printf 'boot slot: %s MiB of %s\n' "$(du -sm "$work/slot" | cut -f1)" "$boot_size"
