#!/usr/bin/env bash
# Makes a FAT32 file system out of a folder, the same bytes each time.
#
#   SOURCE_DATE_EPOCH=N nix/image/fat.sh IMAGE MIB SERIAL LABEL FOLDER
#
# In: the folder. Out: the image. Files go in one by one in order of their names, with one time. Needs mkfs.fat, mtools.
case ${1-} in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export LC_ALL=C TZ=UTC MTOOLS_SKIP_CHECK=1
image=$1 size=$2 serial=$3 label=$4 folder=$5
rm -f "$image"
truncate -s "${size}M" "$image"
mkfs.fat -F 32 -s 1 -i "$serial" -n "$label" --invariant "$image" >/dev/null
cd "$folder"
find . -mindepth 1 -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
find . -mindepth 1 -type d | sort | while read -r sub; do mmd -i "$image" "::${sub#.}"; done
find . -type f | sort | while read -r file; do mcopy -m -i "$image" "$file" "::${file#.}"; done
