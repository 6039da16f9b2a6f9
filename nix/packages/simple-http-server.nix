# simple-http-server with TLS, as the owner's recipes use it: serves a folder over HTTPS with a PKCS#12 file.
#
# In: its lock in nix/simple-http-server, the tree with Rust and OpenSSL, an architecture. Out: the program. Never: a version that is not locked.
{ inRoot, root, crates, source, architecture, version }:
inRoot {
  name = "simple-http-server-${architecture.name}-${version}";
  description = "simple-http-server ${version} with TLS for ${architecture.name}";
  inherit root;
  env = architecture.env // { inherit crates source; inherit (architecture) triple gnu; OPENSSL_NO_VENDOR = "1"; SOURCE_DATE_EPOCH = "1"; };
  script = ''
    mkdir -p /build/cargo
    cp -r --no-preserve=mode "$source" /build/source
    cd /build/source
    export CARGO_HOME=/build/cargo CARGO_TARGET_DIR=/build/target
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' "$crates" >/build/cargo/config.toml
    export CARGO_ENCODED_RUSTFLAGS
    printf -v CARGO_ENCODED_RUSTFLAGS '%s\037' -Clink-arg=-Wl,--allow-shlib-undefined "--remap-path-prefix=$crates=/crates" --remap-path-prefix=/build/target=/target
    CARGO_ENCODED_RUSTFLAGS=''${CARGO_ENCODED_RUSTFLAGS%?}
    cargo build --release --locked --offline --jobs "''${NIX_BUILD_CORES:-2}" --target "$triple" -p simple-http-server
    mkdir -p "$out/bin"
    cp "/build/target/$triple/release/simple-http-server" "$out/bin/"
    "$gnu-strip" --strip-unneeded "$out/bin/simple-http-server"
  '';
}
