# The npm packages of a package-lock.json as node_modules.
#
# In: the lock, whose integrity fields are the hashes. Out: node_modules. Never: npm, or a package's install script.
{ fixed, inRoot, root }:
{ name, lock }:
let
  packages = (builtins.fromJSON (builtins.readFile lock)).packages;
  # The same rule as for_linux in nix/fetch. Entries without integrity only say that other platforms exist.
  has = package: key: value: !(package ? ${key}) || builtins.elem value package.${key};
  wanted = where: let package = packages.${where}; in
    package ? integrity && has package "os" "linux" && has package "cpu" "x64" && has package "libc" "glibc";
  last = list: builtins.elemAt list (builtins.length list - 1);
  title = where: last (builtins.filter builtins.isString (builtins.split "node_modules/" where));
  line = where: let
    file = fixed {
      name = "${builtins.replaceStrings [ "@" "/" ] [ "" "-" ] (title where)}-${packages.${where}.version}.tgz";
      hash = builtins.replaceStrings [ "sha512-" ] [ "" ] packages.${where}.integrity;
      algorithm = "sha512";
    };
  in "${file} ${where}\n";
in inRoot {
  name = "${name}-npm";
  description = "The npm packages that ${name} is built from";
  inherit root;
  env = { packages = builtins.concatStringsSep "" (map line (builtins.filter wanted (builtins.attrNames packages))); passAsFile = [ "packages" ]; };
  script = ''
    while read -r file where; do
      mkdir -p "$out/$where"
      tar -xzf "$file" -C "$out/$where" --strip-components=1 --no-same-owner
    done <"$packagesPath"
    chmod -R a+rX "$out"
  '';
}
