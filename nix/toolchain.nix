# The Debian trees that things are built in, and what a compiler has to be told per architecture.
#
# In: debs (set -> packages), mkRoot. Out: roots, and per architecture the target's name and environment. Never: a compiler of another
# origin than Debian 13.
{ debs, mkRoot }:
rec {
  web = mkRoot { name = "web"; debs = debs.web; };
  tools = mkRoot { name = "tools"; debs = debs.tools; };
  # Rust, gcc for both architectures and what both link against: one tree, so that it is unpacked once. The libraries lie in
  # folders of their architecture; what they share (headers, mostly) is the same file in both.
  rust = mkRoot { name = "rust"; debs = debs.toolchain ++ debs.link-amd64 ++ debs.link-arm64; };

  architectures = {
    aarch64 = target "aarch64";
    x86_64 = target "x86_64";
  };
  target = name: rec {
    inherit name;
    triple = "${name}-unknown-linux-gnu";
    gnu = "${name}-linux-gnu";
    env = {
      PKG_CONFIG_ALLOW_CROSS = "1";
      PKG_CONFIG_LIBDIR = "/usr/lib/${gnu}/pkgconfig:/usr/share/pkgconfig";
      "CARGO_TARGET_${builtins.replaceStrings [ "a" "r" "c" "h" "x" ] [ "A" "R" "C" "H" "X" ] name}_UNKNOWN_LINUX_GNU_LINKER" = "${gnu}-gcc";
      "CC_${name}_unknown_linux_gnu" = "${gnu}-gcc";
      "AR_${name}_unknown_linux_gnu" = "${gnu}-ar";
      # Libraries that are linked but not called from here need not be there to link.
      "CARGO_TARGET_${builtins.replaceStrings [ "a" "r" "c" "h" "x" ] [ "A" "R" "C" "H" "X" ] name}_UNKNOWN_LINUX_GNU_RUSTFLAGS" =
        "-Clink-arg=-Wl,--allow-shlib-undefined --remap-path-prefix=/build/source=/duplex --remap-path-prefix=/build/cargo=/cargo";
    };
  };
}
