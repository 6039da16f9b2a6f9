# The page, built by Vite, and the bundle of gstwebrtc-api as its package has it.
#
# In: the sources of web-app/, npm packages, the tree with Debian's nodejs. Out: webApp, bundle. Never: npm.
{ inRoot, root, nodeModules, source, version }:
{
  webApp = inRoot {
    name = "duplex-web-app-${version}";
    description = "The page of Duplex: what a browser loads";
    inherit root;
    env = { inherit nodeModules source; };
    script = ''
      cp -r --no-preserve=mode "$source/web-app" /build/web-app
      cp -r --no-preserve=ownership "$nodeModules/node_modules" /build/web-app/node_modules
      cd /build/web-app
      node node_modules/typescript/bin/tsc --noEmit
      node node_modules/vite/bin/vite.js build --logLevel warn
      mkdir -p "$out/share/duplex"
      cp -r dist "$out/share/duplex/web-app"
    '';
  };

  bundle = inRoot {
    name = "gstwebrtc-api";
    description = "gstwebrtc-api: the browser's side of the protocol, as published, with its demo page";
    inherit root;
    env = { inherit nodeModules; };
    script = ''
      mkdir -p "$out/share/gstwebrtc-api"
      cp -r "$nodeModules/node_modules/gstwebrtc-api/dist/." "$nodeModules/node_modules/gstwebrtc-api/LICENSE-MPL-2.0" "$out/share/gstwebrtc-api/"
    '';
  };
}
