"""A page of somebody else in the same browser, and what it tries against the device.

In: a device's address. Out: what each try came to. Never: traffic beyond loopback.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from contextlib import contextmanager
from typing import Any, Iterator

from browser import Page
from device import Device

# It reads the status, asks for the turn to talk, opens signalling, and shows the device's page in a frame.
TRIES = """(async (device) => {
  const read = await fetch(device + "api/v1/status", { credentials: "include" }).then((a) => a.text(), (e) => "refused");
  const send = await fetch(device + "api/v1/talk", {
    method: "POST", credentials: "include", mode: "no-cors", body: JSON.stringify({ peer: "x", take: true }),
  }).then((a) => a.type, () => "refused");
  const socket = await new Promise((resolve) => {
    const one = new WebSocket(device.replace(/^http/, "ws") + "signalling");
    one.onopen = () => resolve("open");
    one.onclose = () => resolve("refused");
  });
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.src = device;
  await new Promise((resolve) => (frame.onload = resolve));
  let inside = "refused";
  try { inside = frame.contentDocument === null ? "refused" : "readable"; } catch {}
  return { read, send, socket, inside };
})"""


@contextmanager
def foreign_site() -> Iterator[str]:
    """A page of somebody else, on another port of the same machine."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>elsewhere</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


def assert_refused(stranger: Page, target: Device) -> None:
    """Everything that the foreign page tries comes to nothing, and the device's log tells of it."""
    before = len(target.lines)
    got = stranger.evaluate(f"{TRIES}({json.dumps(target.url)})")
    # What `send` came to the page may not know.
    assert got["read"] == "refused" and got["socket"] == "refused" and got["inside"] == "refused", got
    for path in ("/api/v1/status", "/api/v1/talk", "/signalling"):
        target.wait_for_log(f"request refused.*{path}.*wrongOrigin|request refused.*wrongOrigin.*{path}", after=before)
