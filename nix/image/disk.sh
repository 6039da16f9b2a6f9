#!/usr/bin/env bash
# Puts the card's image together, packs it, and writes what goes with it.
#
#   root_image=FILE boot=FILE card=FOLDER version=X SOURCE_DATE_EPOCH=N out=FOLDER nix/image/disk.sh
#
# In: these variables (card: the files of the first partition; sbom, if set: a folder with bills of materials; product: another name
# than duplex). Out: PRODUCT-VERSION-arm64.img.zst, .bmap, .sha256, and
# PRODUCT-VERSION.rpi-imager-manifest for Raspberry Pi Imager in $out; with keep_raw=1 also the .img. Needs sfdisk, mkfs.fat, mtools, mke2fs, zstd, python3.
case ${1-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export LC_ALL=C TZ=UTC PYTHONDONTWRITEBYTECODE=1
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=nix/image/layout.sh
. "$here/layout.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
name=${product:-duplex}-$version-arm64
image=$work/$name.img

sectors() { echo $(($1 * MIB / 512)); }
truncate -s "${disk_size}M" "$image"
sfdisk --quiet --wipe never "$image" <<END
label: dos
label-id: 0x$disk_signature
start=$(sectors $bootsel_at), size=$(sectors $bootsel_size), type=c
start=$(sectors $boot_a_at), size=$(sectors $boot_size), type=c
start=$(sectors $boot_b_at), size=$(sectors $boot_size), type=c
start=$(sectors $extended_at), size=$(sectors $((disk_size - extended_at))), type=f
start=$(sectors $root_a_at), size=$(sectors $root_size), type=83
start=$(sectors $root_b_at), size=$(sectors $root_size), type=83
start=$(sectors $data_at), size=$(sectors $data_size), type=83
END
# place FILE MIB: copies it, leaving holes where it has zeros.
place() { dd if="$1" of="$image" bs=1M seek="$2" conv=notrunc,sparse status=none; }

mkdir -p "$work/card"
cp -r --no-preserve=mode,ownership "$card/." "$work/card/"
"$here/fat.sh" "$work/card.vfat" "$bootsel_size" "$bootsel_serial" DUPLEX "$work/card"
place "$work/card.vfat" $bootsel_at
for at in $boot_a_at $boot_b_at; do place "$boot" "$at"; done
for at in $root_a_at $root_b_at; do place "$root_image" "$at"; done
truncate -s "${data_size}M" "$work/data.ext4"
# Blocks and room for growth as for a card of up to 512 GB: small ones would be chosen for this small a seed.
mke2fs -q -t ext4 -L data -m 1 -b 4096 -i 16384 -J size=16 -U "$data_uuid" \
  -E "hash_seed=$data_hash_seed,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,resize=134217728" \
  "$work/data.ext4"
place "$work/data.ext4" $data_at

zstd -q -19 -T1 "--long=${window:-27}" -f "$image" -o "$out/$name.img.zst"
python3 "$here/manifest.py" "$image" "$out/$name.img.zst" "$version" "$out"
[ -z "${sbom-}" ] || cp --no-preserve=mode "$sbom"/*.json "$out/"
[ -z "${keep_raw-}" ] || mv "$image" "$out/$name.img"
printf 'image: %s MiB packed, %s MiB raw\n' $(($(stat -c %s "$out/$name.img.zst") / MIB)) "$disk_size"
