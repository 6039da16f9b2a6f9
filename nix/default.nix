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
  workspace = select "duplex-source" [ "src" "pki/src" "pki/Cargo.toml" "build.rs" "Cargo.toml" "Cargo.lock" "ci/loopback.rs" "ci/receivers.rs" "ci/stock_sink.rs" ];
  duplexCrates = crates { name = "duplex"; lock = ../Cargo.lock; };
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
    };
    pick = name: what: paths: cargo.pick {
      name = "${name}-${architecture.name}-${version}";
      description = "${what}, for ${architecture.name}";
      inherit paths;
    };
  in {
    all = cargo.all;
    duplex = pick "duplex" "The service" [ "bin/duplex" "share/duplex/crates.txt" ];
    gst-plugin-webrtc = pick "gst-plugin-webrtc" "GStreamer plugin with webrtcsink and webrtcsrc" [ "lib/gstreamer-1.0/libgstrswebrtc.so" ];
    gst-plugin-rtp = pick "gst-plugin-rtp" "GStreamer plugin with RTP payloaders" [ "lib/gstreamer-1.0/libgstrsrtp.so" ];
    gst-webrtc-signalling-server = pick "gst-webrtc-signalling-server" "The stock signalling server" [ "bin/gst-webrtc-signalling-server" ];
    simple-http-server = import ./packages/simple-http-server.nix {
      inherit inRoot architecture;
      version = serverVersion;
      root = toolchain.rust;
      crates = serverCrates;
      source = select "simple-http-server-source" [ "nix/simple-http-server" ] + "/nix/simple-http-server";
    };
  };
  locked = builtins.fromJSON (builtins.readFile ./debian/lock.json);
  imageOf = more: import ./image ({
    inherit inRoot version;
    inherit (lock) debs;
    inherit (locked) snapshot;
    tools = toolchain.tools;
    duplex = (forArchitecture toolchain.architectures.aarch64).duplex;
    cargoLock = ../Cargo.lock;
    npmLock = ../web-app/package-lock.json;
    debianLock = ./debian/lock.json;
  } // more);
  board = forArchitecture toolchain.architectures.aarch64;
in {
  inherit sandbox toolchain version web;
  image = imageOf { };
  image-workbench = imageOf {
    name = "duplex-workbench";
    additions = ./rootfs/workbench.toml;
    extra = [ board.gst-plugin-webrtc board.gst-plugin-rtp board.gst-webrtc-signalling-server board.simple-http-server ];
  };
  inherit (lock) debs;
  aarch64 = forArchitecture toolchain.architectures.aarch64;
  x86_64 = forArchitecture toolchain.architectures.x86_64;
}
