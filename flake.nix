{
  description = "Duplex: a two-way audio and video appliance, built from locked Debian packages, crates and npm packages";

  # No inputs: what goes in stands in nix/debian/lock.json, Cargo.lock and web-app/package-lock.json. See nix/README.md.
  # A name alone is for the computer that builds (x86_64); NAME-aarch64 is for the board.
  outputs = { self }: let
    parts = import ./nix { system = "x86_64-linux"; };
    board = parts.aarch64;
    here = parts.x86_64;
  in {
    packages.x86_64-linux = parts.images // {
      duplex = here.duplex;
      duplex-aarch64 = board.duplex;
      gst-plugin-rtp = here.gst-plugin-rtp;
      gst-plugin-rtp-aarch64 = board.gst-plugin-rtp;
      gst-plugin-webrtc = here.gst-plugin-webrtc;
      gst-plugin-webrtc-aarch64 = board.gst-plugin-webrtc;
      gst-webrtc-signalling-server = here.gst-webrtc-signalling-server;
      gst-webrtc-signalling-server-aarch64 = board.gst-webrtc-signalling-server;
      gstwebrtc-api = parts.web.bundle;
      pki = here.pki;
      pki-aarch64 = board.pki;
      simple-http-server = here.simple-http-server;
      simple-http-server-aarch64 = board.simple-http-server;
      web-app = parts.web.webApp;
    };
    devShells.x86_64-linux.default = parts.shell;
    checks.x86_64-linux = parts.checks;
  };
}
