# Joins the parts: locks to packages, packages to trees, trees to what is built. flake.nix names what comes out.
#
# In: the system that builds. Out: packages, checks, shell. Never: anything that is not in this repository or in the store by hash.
{ system }:
let
  lock = import ./debian { inherit (sandbox) fixed; };
  sandbox = import ./sandbox.nix { inherit system; busyboxHash = (builtins.fromJSON (builtins.readFile ./debian/lock.json)).busybox; };
  inherit (sandbox) fixed mkRoot inRoot;
  toolchain = import ./toolchain.nix { inherit mkRoot; inherit (lock) debs; };
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;

  # Only what goes into the result: a changed README builds nothing anew.
  select = name: paths: builtins.path {
    inherit name;
    path = ./..;
    filter = path: type: let relative = builtins.substring (builtins.stringLength (toString ./..) + 1) (-1) path; in
      builtins.any (wanted: relative == wanted || starts "${wanted}/" relative || (type == "directory" && starts "${relative}/" wanted)) paths;
  };
  starts = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;

  crates = import ./crates.nix { inherit fixed inRoot; root = toolchain.rust; };
  npm = import ./npm.nix { inherit fixed inRoot; root = toolchain.web; };
  web = import ./packages/web-app.nix {
    inherit inRoot version;
    root = toolchain.web;
    nodeModules = npm { name = "duplex-web-app"; lock = ../web-app/package-lock.json; };
    source = select "duplex-web-app-source" (map (name: "web-app/${name}") [ "src" "public" "index.html" "package.json" "tsconfig.json" "vite.config.ts" ]);
  };
  workspace = select "duplex-source" [ "src" "pki/src" "pki/Cargo.toml" "build.rs" "Cargo.toml" "Cargo.lock" "ci/loopback.rs" "ci/receivers.rs" "ci/receivers" "ci/stock_sink.rs" ];
  duplexCrates = crates { name = "duplex"; lock = ../Cargo.lock; };
  serverSource = select "simple-http-server-source" [ "nix/simple-http-server" ] + "/nix/simple-http-server";
  serverLock = ./simple-http-server/Cargo.lock;
  serverCrates = crates { name = "simple-http-server"; lock = serverLock; };
  serverVersion = (builtins.head (builtins.filter (package: package.name == "simple-http-server") (builtins.fromTOML (builtins.readFile serverLock)).package)).version;

  # What exists once per architecture.
  forArchitecture = architecture: let
    cargo = import ./packages/cargo.nix {
      inherit inRoot architecture;
      inherit (web) webApp;
      root = toolchain.rust;
      crates = duplexCrates;
      source = workspace;
      manifests = select "duplex-manifests" [ "Cargo.toml" "Cargo.lock" "pki/Cargo.toml" ];
    };
    pick = name: what: paths: cargo.pick {
      name = "${name}-${architecture.name}-${version}";
      description = "${what}, for ${architecture.name}";
      inherit paths;
    };
  in rec {
    all = cargo.all;
    duplex = pick "duplex" "The service" [ "bin/duplex" ];
    gst-plugin-webrtc = pick "gst-plugin-webrtc" "GStreamer plugin with webrtcsink and webrtcsrc" [ "lib/gstreamer-1.0/libgstrswebrtc.so" ];
    gst-plugin-rtp = pick "gst-plugin-rtp" "GStreamer plugin with RTP payloaders" [ "lib/gstreamer-1.0/libgstrsrtp.so" ];
    gst-webrtc-signalling-server = pick "gst-webrtc-signalling-server" "The stock signalling server" [ "bin/gst-webrtc-signalling-server" ];
    # What the workbench image adds, laid out as in its root file system.
    workbench = inRoot {
      name = "duplex-workbench-files-${architecture.name}";
      description = "Plugins, stock signalling server, web server and browser bundle, for the workbench image";
      root = toolchain.tools;
      env = { inherit (cargo) all; server = simple-http-server; bundle = web.bundle; inherit (architecture) gnu; };
      script = ''
        mkdir -p "$out/usr/bin" "$out/usr/lib/$gnu/gstreamer-1.0" "$out/usr/share"
        cp "$all/bin/gst-webrtc-signalling-server" "$server/bin/simple-http-server" "$out/usr/bin/"
        cp "$all"/lib/gstreamer-1.0/*.so "$out/usr/lib/$gnu/gstreamer-1.0/"
        cp -r "$bundle/share/gstwebrtc-api" "$out/usr/share/"
      '';
    };
    pki = pick "duplex-pki" "The certificate authority's commands alone" [ "bin/duplex-pki" ];
    simple-http-server = import ./packages/simple-http-server.nix {
      inherit inRoot architecture;
      version = serverVersion;
      root = toolchain.rust;
      crates = serverCrates;
      source = serverSource;
    };
    # What cargo linked into the programs of each image.
    linkedCrates = {
      service = [ "${cargo.linkedCrates}/duplex.txt" ];
      workbench = map (name: "${cargo.linkedCrates}/${name}.txt") [ "gst-plugin-webrtc" "gst-plugin-rtp" "gst-plugin-webrtc-signalling" ] ++ [ "${serverLinked}/simple-http-server.txt" ];
    };
    serverLinked = import ./packages/linked-crates.nix {
      inherit inRoot architecture;
      name = "simple-http-server";
      programs = [ "simple-http-server" ];
      root = toolchain.rust;
      crates = serverCrates;
      manifests = serverSource;
    };
  };
  aarch64 = forArchitecture toolchain.architectures.aarch64;
  x86_64 = forArchitecture toolchain.architectures.x86_64;

  image = settings: (import ./image ({
    inherit inRoot version;
    inherit (toolchain) tools;
    inherit (lock) debs;
    inherit (aarch64) duplex;
    inherit (lock) snapshot;
    linkedCrates = aarch64.linkedCrates.service;
    cargoLocks = [ ../Cargo.lock ];
    npmLock = ../web-app/package-lock.json;
    debianLock = ./debian/lock.json;
  } // settings)).image;
in {
  # The image for the card, and the same with the owner's recipes and tools on it.
  images = {
    image = image { };
    image-workbench = image {
      name = "duplex-workbench";
      extra = [ aarch64.workbench ];
      linkedCrates = aarch64.linkedCrates.service ++ aarch64.linkedCrates.workbench;
      cargoLocks = [ ../Cargo.lock serverLock ];
      additions = ./rootfs/workbench.toml;
    };
  };
  shell = import ./shell.nix { inherit sandbox system; inherit (lock) debs; root = toolchain.rust; };
  checks = import ./checks.nix { inherit inRoot select; root = toolchain.tools; };
  inherit aarch64 x86_64;
  inherit sandbox toolchain version web;
  inherit (lock) debs;
}
