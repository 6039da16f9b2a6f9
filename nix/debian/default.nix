# The Debian packages of the lock as files in the store: set name -> list of packages.
#
# In: lock.json. Out: one fixed-output file each. Never: a download from here (nix/fetch does that).
{ fixed }:
let
  lock = builtins.fromJSON (builtins.readFile ./lock.json);
  # The same rule as store_name in nix/sources.py: the store allows neither ~ nor %.
  storeName = path: builtins.replaceStrings [ "~" "%" ] [ "-" "_" ] (baseNameOf path);
  file = key: let entry = lock.packages.${key}; in fixed { name = storeName entry.path; hash = entry.sha256; };
  files = builtins.listToAttrs (map (key: { name = key; value = file key; }) (builtins.attrNames lock.packages));
in {
  inherit (lock) busybox snapshot;
  debs = builtins.mapAttrs (_: keys: map (key: files.${key}) keys) lock.sets;
}
