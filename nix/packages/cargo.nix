# Everything that cargo builds for one architecture, in one go: service, plugins, signalling server. The named outputs
# are picked from it, so that what they share is compiled once; and dependencies are compiled apart from our own sources, so that a
# changed line of ours does not compile them again.
#
# In: sources, manifests, vendored crates, the built page, the tree with Rust, an architecture of nix/toolchain.nix. Out: all (what was built),
# pick (a part of it as an output of its own), linkedCrates (which crates are in what was built). Never: the network, or a path or date of the machine in a binary.
{ inRoot, root, crates, source, manifests, webApp, architecture }:
rec {
  # The same command with the same environment in both steps: only then does cargo take the first one's work as its own.
  build = ''
    mkdir -p /build/cargo
    export CARGO_HOME=/build/cargo CARGO_TARGET_DIR=/build/target
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' "$crates" >/build/cargo/config.toml
    # Store paths differ between stores; in a binary they would make it differ too.
    export CARGO_ENCODED_RUSTFLAGS
    printf -v CARGO_ENCODED_RUSTFLAGS '%s\037' -Clink-arg=-Wl,--allow-shlib-undefined "--remap-path-prefix=$crates=/crates" \
      --remap-path-prefix=/build/source=/duplex --remap-path-prefix=/build/target=/target
    CARGO_ENCODED_RUSTFLAGS=''${CARGO_ENCODED_RUSTFLAGS%?}
    export CFLAGS="-ffile-prefix-map=$crates=/crates -ffile-prefix-map=/build/target=/target"
    cd /build/source
    cargo build --release --locked --offline --jobs "''${NIX_BUILD_CORES:-2}" --target "$triple" \
      ${builtins.concatStringsSep " " (map (program: "-p ${program}") programs)}
  '';
  programs = [ "duplex" "duplex-pki" "gst-plugin-webrtc" "gst-plugin-rtp" "gst-plugin-webrtc-signalling" ];
  # Our own crates, empty: for what depends on the manifests alone.
  skeleton = ''
    mkdir -p /build/source/src /build/source/pki/src /build/source/ci
    for file in src/lib.rs pki/src/lib.rs; do : >"/build/source/$file"; done
    for file in src/main.rs pki/src/main.rs build.rs ci/loopback.rs ci/receivers.rs ci/stock_sink.rs; do echo 'fn main() {}' >"/build/source/$file"; done'';
  env = architecture.env // {
    inherit crates;
    inherit (architecture) triple gnu;
    SOURCE_DATE_EPOCH = "1";
  };

  dependencies = inRoot {
    name = "duplex-dependencies-${architecture.name}";
    description = "The crates that Duplex uses, compiled for ${architecture.name}";
    inherit root;
    env = env // { inherit manifests; };
    script = ''
      cp -r --no-preserve=mode "$manifests" /build/source
      # Our own crates, empty: what is compiled of them is thrown away.
      ${skeleton}
      ${build}
      find /build/target \( -name 'duplex*' -o -name 'libduplex*' \) -prune -exec rm -rf {} +
      mkdir "$out"
      cp -r /build/target "$out/target"
    '';
  };

  all = inRoot {
    name = "duplex-all-${architecture.name}";
    description = "Service, plugins and signalling server for ${architecture.name}, from one run of cargo";
    inherit root;
    env = env // { inherit source webApp dependencies; };
    script = ''
      cp -r --preserve=timestamps "$dependencies/target" /build/target
      chmod -R u+w /build/target
      # Newer than what was compiled before, as cargo goes by time.
      cp -r --no-preserve=all "$source" /build/source
      mkdir -p /build/source/web-app
      cp -r --no-preserve=all "$webApp/share/duplex/web-app" /build/source/web-app/dist
      ${build}
      built=/build/target/$triple/release
      mkdir -p "$out/bin" "$out/lib/gstreamer-1.0"
      cp "$built/duplex" "$built/duplex-pki" "$built/gst-webrtc-signalling-server" "$out/bin/"
      cp "$built/libgstrswebrtc.so" "$built/libgstrsrtp.so" "$out/lib/gstreamer-1.0/"
      chmod 755 "$out"/bin/*
      "$gnu-strip" --strip-unneeded "$out"/bin/* "$out"/lib/gstreamer-1.0/*
      if grep -rlF "$crates" "$out" || grep -rlF /build/ "$out"; then
        echo "error: the files above have paths of the build in them" >&2; exit 1
      fi
    '';
  };

  linkedCrates = import ./linked-crates.nix {
    inherit inRoot root crates manifests architecture programs;
    name = "duplex";
    prepare = skeleton;
  };

  pick = { name, description, paths }: inRoot {
    inherit name description root;
    env = { inherit all paths; };
    script = ''
      for path in $paths; do
        mkdir -p "$out/$(dirname "$path")"
        cp "$all/$path" "$out/$path"
      done
    '';
  };
}
