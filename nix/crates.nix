# The crates of a Cargo.lock as a vendor directory: what `cargo --offline` builds from.
#
# In: a Cargo.lock, whose checksums are the hashes. Out: a folder per crate, with the .cargo-checksum.json that cargo asks for.
# Never: a second hash to keep, or one that depends on cargo's version.
{ fixed, inRoot, root }:
{ name, lock }:
let
  packages = builtins.filter (package: package ? checksum) (builtins.fromTOML (builtins.readFile lock)).package;
  line = package: let
    file = fixed { name = "${package.name}-${package.version}.crate"; hash = package.checksum; };
  in "${file} ${package.checksum}\n";
in inRoot {
  name = "${name}-crates";
  description = "The crates that ${name} is built from";
  inherit root;
  env = { crates = builtins.concatStringsSep "" (map line packages); passAsFile = [ "crates" ]; };
  script = ''
    mkdir -p "$out"
    while read -r file checksum; do
      # Import libraries of other systems: half of all bytes, and never linked here.
      tar -xzf "$file" -C "$out" --no-same-owner --exclude='windows*/lib/*' --exclude='winapi-*/lib/*'
      folder=$(basename "$file"); folder=''${folder#*-}; folder=''${folder%.crate}
      printf '{"files":{},"package":"%s"}' "$checksum" >"$out/$folder/.cargo-checksum.json"
    done <"$cratesPath"
  '';
}
