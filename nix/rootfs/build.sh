#!/usr/bin/env bash
# Makes the root file system as a tar stream out of Debian packages, without running any of their scripts.
#
#   debs="A.deb B.deb" kernel_debs=... firmware_debs=... duplex=FOLDER overlay=nix/rootfs/files version=X \
#     SOURCE_DATE_EPOCH=N out=FOLDER nix/rootfs/build.sh
#
# In: these variables. Out: root.tar, packages.json, dropped.txt in $out. Needs python3, depmod, zstd, gzip.
case ${1-} in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C TZ=UTC
exec python3 "$(dirname "$0")/build.py"
