/**
 * The build: the page with hashed assets, the stock gstwebrtc-api page beside it, and the licences of what
 * is bundled. `vite` alone serves the page for development and passes the rest on to a running service.
 */
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";

const SERVICE = process.env["DUPLEX_SERVICE"] ?? "https://localhost:8443";
const proxied = { target: SERVICE, secure: false, changeOrigin: true };

export default defineConfig({
  plugins: [stockPage(), licences()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // gstwebrtc-api tells every candidate on the console.
  esbuild: { pure: ["console.log"] },
  server: { proxy: { "/api": proxied, "/trust": proxied, "/signalling": { ...proxied, ws: true } } },
});

/**
 * The demo page of the gstwebrtc-api package under gstwebrtc-api/, changed in three places: it signals on the
 * port and path it came from instead of a fixed port, asks no STUN server of strangers, and its inline
 * script and style become files, so that the one strict content policy holds for it as well.
 */
function stockPage(): Plugin {
  const folder = "node_modules/gstwebrtc-api/dist/";
  const bundle = "gstwebrtc-api-3.0.0.min.js";
  return {
    name: "stock-page",
    apply: "build",
    generateBundle() {
      const emit = (name: string, source: string) => {
        this.emitFile({ type: "asset", fileName: `gstwebrtc-api/${name}`, source });
      };
      let page = readFileSync(folder + "index.html", "utf8");
      page = replaceOnce(page, "${window.location.hostname}:8443`,", "${window.location.host}/signalling`,\n        webrtcConfig: { iceServers: [], bundlePolicy: \"max-bundle\" },");
      const style = between(page, "<style>", "</style>");
      const script = between(page, "<script>", "</script>");
      page = replaceOnce(page, `<style>${style}</style>`, '<link rel="stylesheet" href="stock.css">');
      page = replaceOnce(page, `<script>${script}</script>`, '<script src="stock.js"></script>');
      emit("index.html", page);
      emit("stock.css", style);
      emit("stock.js", script);
      emit(bundle, readFileSync(folder + bundle, "utf8").replace(/\n\/\/# sourceMappingURL=.*/, ""));
    },
  };
}

function licences(): Plugin {
  const files = ["gstwebrtc-api/LICENSE-MPL-2.0", "webrtc-adapter/LICENSE.md", "sdp/LICENSE"];
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const parts = files.map((file) => `${file}\n\n${readFileSync(`node_modules/${file}`, "utf8").trim()}\n`);
      const opening = "This page contains these packages in bundled form; their source is in the npm registry under the same names.\n";
      this.emitFile({ type: "asset", fileName: "licenses.txt", source: [opening, ...parts].join("\n\n") });
    },
  };
}

function replaceOnce(text: string, what: string, by: string): string {
  if (text.split(what).length !== 2) throw new Error(`the stock page does not have this exactly once: ${what.slice(0, 80)}`);
  return text.replace(what, () => by);
}

function between(text: string, open: string, close: string): string {
  const start = text.indexOf(open);
  const end = text.indexOf(close, start);
  if (start < 0 || end < 0) throw new Error(`the stock page has no ${open} block`);
  return text.slice(start + open.length, end);
}
