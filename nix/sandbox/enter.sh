# Enters a Debian tree in the sandbox and runs a bash script there. Runs under busybox sh.
# In: bb, root, storeDir, scriptPath (a file), every variable of the derivation. Out: what the script makes of $out.
set -eu
export entered=1
exec "$bb" unshare -r -m "$bb" sh -c '
set -eu
for at in "$storeDir" /dev /proc; do "$bb" mount --rbind "$at" "$root$at"; done
"$bb" mount --rbind "$NIX_BUILD_TOP" "$root/build"
"$bb" mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
"$bb" cp "$scriptPath" "$NIX_BUILD_TOP/.script"
export PATH=/usr/sbin:/usr/bin HOME=/build TMPDIR=/tmp LC_ALL=C TZ=UTC SHELL=/bin/bash
cd /
exec "$bb" chroot "$root" /bin/bash -c "cd /build && exec bash -euo pipefail /build/.script"
'
