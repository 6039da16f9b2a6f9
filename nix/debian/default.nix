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
  # The lock's date in seconds since 1970: no file of the image is younger.
  epoch = let
    part = at: count: builtins.fromJSON (strip (builtins.substring at count lock.snapshot));
    strip = text: if builtins.substring 0 1 text == "0" && text != "0" && builtins.stringLength text > 1 then strip (builtins.substring 1 (-1) text) else text;
    # Days since 1970 in the Gregorian calendar, with years that begin in March.
    month = if part 4 2 > 2 then part 4 2 - 3 else part 4 2 + 9;
    year = if part 4 2 > 2 then part 0 4 else part 0 4 - 1;
    days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + part 6 2 - 1 - 719468;
  in days * 86400 + part 9 2 * 3600 + part 11 2 * 60 + part 13 2;
  debs = builtins.mapAttrs (_: keys: map (key: files.${key}) keys) lock.sets;
}
