# Which crates are linked into programs, as cargo resolves them: what the bill of materials is made of. It compiles nothing, and depends on
# manifests and locks alone.
#
# In: manifests (a folder, with the Cargo.lock), prepare (commands that complete it), vendored crates, the tree with Rust, an architecture, and
# programs: names of the packages that cargo builds in one run. Out: PROGRAM.txt each, lines of "NAME vVERSION". Never: what only runs while
# compiling (build scripts, procedural macros), or is for tests or another system.
{ inRoot, root, crates, manifests, architecture, name, programs, prepare ? "" }:
inRoot {
  name = "${name}-linked-crates-${architecture.name}";
  description = "Lists of the crates in each program of ${name} for ${architecture.name}";
  inherit root;
  env = architecture.env // { inherit crates manifests programs; inherit (architecture) triple; };
  script = ''
    mkdir -p /build/cargo "$out"
    export CARGO_HOME=/build/cargo
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' "$crates" >/build/cargo/config.toml
    cp -r --no-preserve=mode "$manifests" /build/source
    cd /build/source
    ${prepare}
    linked() {
      cargo tree --offline --locked --target "$triple" --edges normal,no-proc-macro --prefix none --format '{p}' "$@" |
        sed 's/ (.*//; /^$/d' | LC_ALL=C sort -u
    }
    together=()
    for program in $programs; do
      linked -p "$program" >"$out/$program.txt"
      together+=(-p "$program")
    done
    # What is built in one run shares its features; a crate that only the shared ones ask for would be in no list.
    if [ "$(linked "''${together[@]}")" != "$(LC_ALL=C sort -u "$out"/*.txt)" ]; then
      echo "error: built together, $programs link other crates than each alone" >&2; exit 1
    fi
  '';
}
