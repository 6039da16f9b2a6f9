#!/bin/sh
# Installs what linking for one Debian architecture needs. Run by the Dockerfile; runs the same in any Debian 13 tree.
#
#   packages.sh arm64|amd64
#
# In: the architecture. Out: installed packages. Never: another release than the tree's own.
set -eu
case ${1-} in
  -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
  arm64) gcc=gcc-aarch64-linux-gnu ;;
  amd64) gcc=gcc ;;
  *) echo "error: packages.sh takes arm64 or amd64, not '${1-}'" >&2; exit 2 ;;
esac
export DEBIAN_FRONTEND=noninteractive
dpkg --add-architecture "$1"
apt-get update
apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev pkgconf "$gcc" "libc6-dev:$1" \
  "libgstreamer1.0-dev:$1" "libgstreamer-plugins-base1.0-dev:$1" "libgstreamer-plugins-bad1.0-dev:$1" "libssl-dev:$1"
apt-get clean
