#!/usr/bin/env bash
# Makes the root slot: erofs, and behind it the tree of hashes with which the kernel checks every block it reads.
#
#   root_tar=FILE SOURCE_DATE_EPOCH=N out=FOLDER nix/image/root.sh
#
# In: these variables. Out: root.img, and verity (BLOCKS:SALT:HASH, for the kernel's command line) in $out.
# Needs mkfs.erofs, veritysetup.
case ${1-} in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
# shellcheck source=nix/image/layout.sh
. "$(dirname "$0")/layout.sh"
mkdir -p "$out"
image=$out/root.img
mkfs.erofs --quiet --tar=f -z lz4hc,12 -C65536 -T "$SOURCE_DATE_EPOCH" -U "$root_uuid" --workers=1 "$image" "$root_tar" >/dev/null
size=$(stat -c %s "$image")
[ $((size % 4096)) = 0 ] || { truncate -s $(((size / 4096 + 1) * 4096)) "$image"; size=$(stat -c %s "$image"); }
# No header: all that it would say stands in the command line of the boot slot, next to the hash that has to be trusted.
hash=$(veritysetup format --no-superblock --hash=sha256 --data-block-size=4096 --hash-block-size=4096 --data-blocks=$((size / 4096)) \
  --salt="$verity_salt" --hash-offset="$size" "$image" "$image" | sed -n 's/^Root hash:[[:space:]]*//p')
[ ${#hash} = 64 ] || { echo "error: veritysetup gave no root hash" >&2; exit 1; }
all=$(stat -c %s "$image")
[ "$all" -le $((root_size * MIB)) ] || { echo "error: the root has $((all / MIB)) MiB, its slot only $root_size" >&2; exit 1; }
printf '%s:%s:%s\n' $((size / 4096)) "$verity_salt" "$hash" >"$out/verity"
printf 'root slot: erofs %s MiB, with hashes %s MiB of %s\n' $((size / MIB)) $((all / MIB)) "$root_size"
