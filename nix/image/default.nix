# The card's image, step by step; each step is a script that runs the same outside Nix.
#
# In: inRoot (nix/sandbox.nix: runs a script in a Debian tree), tools (that tree), debs (set -> list of packages), duplex (the
# cross-built service), version, snapshot (the lock's date, which is the image's), the locks, linkedCrates (lists of the crates in each program of the
# image); for the workbench image also name, extra (folders with files) and additions (a list of what is kept besides). Out: rootfs, initramfs, root, boot, sbom, and image, which has all that is handed out.
# Never: a step that looks at the network, the clock or the machine.
{ inRoot, tools, debs, duplex, version, snapshot, linkedCrates, cargoLocks, npmLock, debianLock, name ? "duplex", extra ? [ ], additions ? null }:
let
  wanted = [ "rootfs" "initramfs" "image" "sbom" ];
  here = toString ./..;
  # Only what the steps read: another file of nix/ that changes does not build the image anew.
  scripts = builtins.path {
    name = "duplex-image-steps";
    path = ./..;
    filter = path: type: builtins.any (folder: path == "${here}/${folder}" || builtins.substring 0 (builtins.stringLength "${here}/${folder}/") path == "${here}/${folder}/") wanted
      && !(builtins.match ".*\\.nix|.*\\.md|.*__pycache__.*" path != null);
  };
  part = from: length: builtins.substring from length snapshot;
  date = "${part 0 4}-${part 4 2}-${part 6 2} ${part 9 2}:${part 11 2}:${part 13 2}";
  step = what: env: script: inRoot {
    name = "${name}-${what}";
    root = tools;
    env = { inherit version; } // env;
    script = "export out SOURCE_DATE_EPOCH=$(date -u -d '${date}' +%s); exec bash ${scripts}/${script}";
  };
in rec {
  rootfs = step "rootfs" ({
    debs = if additions == null then debs.image else debs.workbench;
    kernel_debs = debs.kernel;
    firmware_debs = debs.firmware;
    overlay = "${scripts}/rootfs/files";
    inherit duplex extra;
  } // (if additions == null then { } else { inherit additions; })) "rootfs/build.sh";

  initramfs = step "initramfs" { root_tar = "${rootfs}/root.tar"; } "initramfs/build.sh";

  root = step "root" { root_tar = "${rootfs}/root.tar"; } "image/root.sh";

  boot = step "boot" {
    kernel_debs = debs.kernel;
    firmware_debs = debs.firmware;
    initramfs = "${initramfs}/initramfs.zst";
    verity = "${root}/verity";
  } "image/boot.sh";

  sbom = step "sbom" {
    packages = "${rootfs}/packages.json";
    verity = "${root}/verity";
    crates = linkedCrates;
    # Rust's standard library is linked into every program, in the form that this package has.
    linked = [ "libstd-rust-web-dev:arm64" ];
    debian_lock = debianLock;
    cargo_locks = cargoLocks;
    npm_lock = npmLock;
    product = name;
  } "sbom/build.sh";

  image = step "image" {
    root_image = "${root}/root.img";
    boot = "${boot}/boot.vfat";
    card = "${scripts}/image/card";
    inherit sbom;
    product = name;
  } "image/disk.sh";
}
