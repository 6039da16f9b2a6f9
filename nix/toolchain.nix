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
  # Debian sets the name cc in a maintainer script; here no script runs.
  compilers = {
    CC_aarch64_unknown_linux_gnu = "aarch64-linux-gnu-gcc";
    CC_x86_64_unknown_linux_gnu = "x86_64-linux-gnu-gcc";
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER = "aarch64-linux-gnu-gcc";
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER = "x86_64-linux-gnu-gcc";
  };
  target = name: rec {
    inherit name;
    triple = "${name}-unknown-linux-gnu";
    gnu = "${name}-linux-gnu";
    # Also for the build's own programs (build scripts, procedural macros), hence both compilers each time.
    env = compilers // {
      PKG_CONFIG_ALLOW_CROSS = "1";
      PKG_CONFIG_LIBDIR = "/usr/lib/${gnu}/pkgconfig:/usr/share/pkgconfig";
    };
  };
}
