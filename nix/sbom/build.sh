#!/usr/bin/env bash
# Makes the bill of materials of an image.
#
#   packages=FILE debian_lock=FILE crates="FILE..." cargo_locks="FILE..." linked="NAME:ARCHITECTURE..." npm_lock=FILE verity=FILE \
#     product=NAME version=X SOURCE_DATE_EPOCH=N out=FOLDER nix/sbom/build.sh
#
# In: these variables. Out: PRODUCT-VERSION.spdx.json and .cdx.json in $out. Needs python3.
case ${1-} in -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C TZ=UTC
exec python3 "$(dirname "$0")/sbom.py"
