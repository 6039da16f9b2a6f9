# Unpacks Debian packages into $out. Runs under busybox sh, with no other program there.
# In: bb, debsPath (a file with their names), storeDir. Out: the tree, with the mount points that enter.sh needs.
set -eu
export PATH=
# Folders in the merged layout of Debian 13, and where the sandbox comes in.
$bb mkdir -p "$out/proc" "$out/dev" "$out/build" "$out/tmp" "$out/etc" "$out/usr/bin" "$out/usr/sbin" "$out/usr/lib" "$out/usr/lib64" "$out$storeDir"
for name in bin sbin lib lib64; do $bb ln -s "usr/$name" "$out/$name"; done
printf 'root:x:0:0:root:/build:/bin/bash\n' >"$out/etc/passwd"
printf 'root:x:0:\n' >"$out/etc/group"
for deb in $($bb cat "$debsPath"); do
  part=$($bb ar t "$deb" | $bb grep '^data\.tar')
  case $part in
    *.xz) filter=xz ;;
    *.gz) filter=gzip ;;
    *.tar) filter= ;;
    *) echo "error: $deb has $part, which busybox cannot unpack" >&2; exit 1 ;;
  esac
  if [ -n "$filter" ]; then $bb ar p "$deb" "$part" | $bb $filter -dc; else $bb ar p "$deb" "$part"; fi |
    $bb tar -x -o -C "$out" -f - || { echo "error: $deb could not be unpacked" >&2; exit 1; }
done
# Nobody reads here, and a store keeps these trees for long.
for name in doc man locale info lintian bug doc-base; do $bb rm -rf "$out/usr/share/$name"; done
# What maintainer scripts would do and the builds need.
[ -e "$out/usr/bin/sh" ] || $bb ln -s bash "$out/usr/bin/sh"
[ -e "$out/usr/bin/awk" ] || { [ ! -e "$out/usr/bin/mawk" ] || $bb ln -s mawk "$out/usr/bin/awk"; }
for arch in x86_64 aarch64; do
  tool=$out/usr/bin/$arch-linux-gnu-pkg-config
  [ ! -e "$out/usr/bin/pkgconf" ] || [ -e "$tool" ] || $bb ln -s pkgconf "$tool"
done
