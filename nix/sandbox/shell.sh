# Enters a Debian tree outside the sandbox, for a person. Runs under busybox sh.
# In: bb, root, a command or nothing. Out: the command, or an interactive bash, in the tree; the current folder, home, /nix and the name service are the machine's own.
set -eu
export here="$PWD"
exec "$bb" unshare -r -m "$bb" sh -c '
set -eu
# A tree in the store cannot be given mount points, so its folders are hung into an empty one.
new=/tmp
"$bb" mount -t tmpfs tmpfs "$new"
for name in "$root"/*; do
  name=${name##*/}
  if [ -L "$root/$name" ]; then "$bb" cp -P "$root/$name" "$new/$name"; continue; fi
  case $name in proc | dev | nix | tmp | build | etc) continue ;; esac
  "$bb" mkdir "$new/$name" && "$bb" mount --rbind "$root/$name" "$new/$name"
done
"$bb" mkdir "$new/etc" "$new/tmp" "$new/proc" "$new/dev"
"$bb" cp -r "$root/etc/." "$new/etc"
for file in resolv.conf hosts nsswitch.conf ssl; do [ ! -e "/etc/$file" ] || "$bb" cp -rL "/etc/$file" "$new/etc/" 2>/dev/null || :; done
for at in /proc /dev /nix "$HOME" "$here"; do
  case $at in /tmp | /tmp/*) echo "error: the shell cannot show $at, which lies in /tmp" >&2; exit 1 ;; esac
  "$bb" mkdir -p "$new$at" && "$bb" mount --rbind "$at" "$new$at"
done
[ $# -gt 0 ] || set -- bash --norc
exec "$bb" chroot "$new" /bin/bash -c "cd \"\$here\" && export PATH=/usr/bin:/usr/sbin:\$PATH PS1=\"duplex:\\w\\$ \" && exec \"\$@\"" duplex "$@"
' duplex "$@"
