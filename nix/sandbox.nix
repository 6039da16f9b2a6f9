# Debian inside Nix: from locked packages to a tree, and from a tree to a script that runs in it.
#
# In: the hash of busybox, the first program there is. Out: fixed (a file of a known hash), mkRoot (packages -> tree), inRoot (script in a
# tree -> result). Never: a program from outside the store; Debian's Nix has not even /bin/sh in its sandbox.
{ system, busyboxHash }:
let
  # Added by nix/fetch, so never built; the address only shows up in the message of a store that was not filled.
  busybox = derivation {
    name = "duplex-busybox";
    system = "builtin";
    builder = "builtin:fetchurl";
    url = "file:///this-file-is-not-in-the-store-yet/run-nix/fetch-first";
    outputHashMode = "recursive";
    outputHashAlgo = "sha256";
    outputHash = busyboxHash;
  };
  bb = "${busybox}/busybox";
  storeDir = builtins.storeDir;
in rec {
  inherit bb;

  # A file whose hash stands in a lock. Its path depends on name and hash alone, so what nix/fetch has put there is taken as it is.
  fixed = { name, hash, algorithm ? "sha256" }: derivation {
    inherit name system;
    builder = bb;
    args = [ "sh" "-c" "echo 'error: ${name} is not in the store: run nix/fetch first' >&2; exit 1" ];
    outputHashMode = "flat";
    outputHashAlgo = algorithm;
    outputHash = hash;
  };

  # Unpacks packages over one another; of their scripts none runs. Documentation and translations stay away.
  mkRoot = { name, debs }: derivation {
    name = "${name}-root";
    inherit system bb debs storeDir;
    builder = bb;
    args = [ "sh" ./sandbox/unpack.sh ];
    passAsFile = [ "debs" ];
  } // { meta.description = "Debian packages of the set ${name}, unpacked"; };

  # Runs bash in the tree, as root of a namespace of its own, with $out to make and env as variables. The folder it starts in is
  # /build, whatever the machine; what a script writes into /tmp is gone afterwards.
  inRoot = { name, root, script, env ? { }, description ? name }: derivation (env // {
    inherit name system bb root storeDir script;
    builder = bb;
    args = [ "sh" ./sandbox/enter.sh ];
    passAsFile = [ "script" ] ++ (env.passAsFile or [ ]);
  }) // { meta = { inherit description; }; };
}
