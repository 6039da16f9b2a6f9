# A shell with the compilers that the packages are built with: `nix develop`.
#
# In: the tree with Rust and gcc for both architectures, Debian's bash-static. Out: a shell inside that tree, with this folder and the
# home folder where they are outside. Never: a program of the machine's own; what is missing is missing from the lock.
{ sandbox, system, debs, root }:
let
  inherit (sandbox) bb;
  # nix develop wants a builder called bash that runs outside any tree.
  bash = derivation {
    name = "bash-static";
    inherit system bb;
    builder = bb;
    debs = debs.busybox;
    args = [ "sh" "-c" ''
      $bb mkdir -p "$out/bin"
      for deb in $debs; do $bb ar p "$deb" data.tar.xz | $bb xz -dc | $bb tar -x -o -f -; done
      $bb cp usr/bin/bash-static "$out/bin/bash"
    '' ];
  };
in derivation {
  name = "duplex-shell";
  # What asks for the environment looks for the outputs in a variable.
  outputs = [ "out" ];
  inherit system bb root;
  builder = "${bash}/bin/bash";
  args = [ "-c" "echo 'this is a shell: nix develop'; exit 1" ];
  shellHook = ''
    export bb root PKG_CONFIG_ALLOW_CROSS=1
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc
    export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CC_x86_64_unknown_linux_gnu=x86_64-linux-gnu-gcc
    # A command (-c) comes after this hook as `exec COMMAND`; without one the first prompt is the tree's own.
    exec() { builtin exec "$bb" sh ${./sandbox/shell.sh} "$@"; }
    PROMPT_COMMAND=exec
  '';
} // { meta.description = "A shell with the locked compilers of both architectures"; }
