{
  description = "Duplex: a two-way audio and video appliance, built from locked Debian packages, crates and npm packages";

  # No inputs: what goes in stands in nix/debian/lock.json, Cargo.lock and web-app/package-lock.json. See nix/README.md.
  outputs = { self }: let
    parts = import ./nix { system = "x86_64-linux"; };
  in {
    packages.x86_64-linux = {
      duplex = parts.x86_64.duplex;
      duplex-aarch64 = parts.aarch64.duplex;
      all-aarch64 = parts.aarch64.all;
      web-app = parts.web.webApp;
      gstwebrtc-api = parts.web.bundle;
      image = parts.image.image;
      image-workbench = parts.image-workbench.image;
    };
  };
}
