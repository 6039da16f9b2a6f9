# What `nix flake check` looks at: things that can be said of the sources alone.
#
# In: the sources, the tree with the image's tools. Out: one empty file per check. Never: a build of the image (ci/image and ci/test-image do that).
{ inRoot, select, root }:
let
  check = name: description: source: script: inRoot {
    name = "check-${name}";
    inherit description root;
    env = { inherit source; };
    script = ''cd "$source"; ${script}
      : >"$out"'';
  };
in {
  sandbox = check "sandbox" "Something can be built here at all" (select "nothing" [ "nix/checks.nix" ]) "test -e nix/checks.nix";
  locks = check "locks" "The locks are whole, sorted, and name neither a mirror nor a registry"
    (select "locks" [ "nix/debian" "nix/rootfs/kernel.toml" "nix/check-locks" "nix/sources.py" "Cargo.lock" "nix/simple-http-server" "web-app/package-lock.json" ]) "python3 nix/check-locks";
  secrets = check "secrets" "No private key or password is among the sources" (select "sources" [ "src" "pki" "web-app/src" "nix" "ci" ]) ''
    # Test keys are made by the tests. The words are split so that this file does not find itself.
    if grep -rIlE -- "-----BEGIN ([A-Z]+ )?PRIVATE ""KEY-----[[:space:]]*[A-Za-z0-9+/=]{40}" .; then
      echo "error: the files above hold a private key" >&2; exit 1
    fi
  '';
  help = check "help" "Every script says what it does" (select "scripts" [ "nix" "ci" ]) ''
    for script in nix/lock nix/fetch nix/check-locks ci/image ci/reproduce; do
      case $(head -n 1 "$script") in *python3) run=python3 ;; *) run=bash ;; esac
      $run "$script" --help | grep -q "$script" || { echo "error: $script --help does not show how it is called" >&2; exit 1; }
    done
  '';
}
