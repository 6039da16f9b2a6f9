#!/usr/bin/env bash
# Makes the initramfs out of the root file system.
#
#   root_tar=FILE SOURCE_DATE_EPOCH=N out=FOLDER nix/initramfs/build.sh
#
# In: these variables. Out: initramfs.zst in $out. Needs python3, zstd.
case ${1-} in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C TZ=UTC
exec python3 "$(dirname "$0")/build.py"
