"""Janus beside Duplex: an SFU that gets the same encode by RTP and sends it to each viewer.

In: the unpacked Debian package. Out: a running Janus with one mountpoint of its streaming plugin, and viewers of it. Never: an address that
others can reach, but for what viewers get; a setting that costs it processor time; a file outside a temporary folder.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from bench_parts.processes import end
from bench_parts.receivers import Receivers, own_address
from device import TOP, wait_for

FOLDER = TOP / "ci/out/janus"
CORE = """
general: {{ configs_folder = "{folder}"; plugins_folder = "{folder}/plugins"; transports_folder = "{folder}/transports"
  loggers_folder = "{folder}/none"; events_folder = "{folder}/none"; server_name = "bench"; session_timeout = 0; debug_level = 3 }}
nat: {{ ice_enforce_list = "{address}"; ignore_mdns = true }}
"""
DOOR = """general: {{ json = "compact"; ws = true; ws_ip = "127.0.0.1"; ws_port = {port} }}
admin: {{ admin_ws = false }}
"""
#: What it sends: media ids and payload types.
MEDIA = [{"type": "video", "mid": "v", "codec": "vp8", "pt": 96, "port": 0, "iface": "127.0.0.1"},
         {"type": "audio", "mid": "a", "codec": "opus", "pt": 97, "port": 0, "iface": "127.0.0.1"}]


class Janus:
    """The process, and a connection to its interface for clients, on loopback."""

    def __init__(self, folder: Path):
        for kind, names in (("plugins", ["streaming"]), ("transports", ["websockets"])):
            (folder / kind).mkdir()
            for name in names:
                (found,) = FOLDER.glob(f"usr/lib/*/janus/{kind}/libjanus_{name}.so")
                (folder / kind / found.name).symlink_to(found)
        (folder / "none").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        values = {"folder": folder, "address": own_address(), "port": port}
        (folder / "janus.jcfg").write_text(CORE.format(**values))
        (folder / "janus.transport.websockets.jcfg").write_text(DOOR.format(**values))
        self.log, self.stack = folder / "log", ExitStack()
        with self.log.open("w") as log:
            words = [str(FOLDER / "usr/bin/janus"), "-F", str(folder), "-C", str(folder / "janus.jcfg")]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.numbers = itertools.count(1)
        try:
            self.line = wait_for("Janus listens", lambda: self._line(f"ws://127.0.0.1:{port}"), 20)
            self.session = self.ask(janus="create")["data"]["id"]
        except BaseException:
            self.stop()
            print(self.log.read_text())
            raise

    def _line(self, address: str) -> ClientConnection | None:
        if self.process.poll() is not None:
            raise AssertionError(f"Janus ended with {self.process.returncode}")
        try:
            line = connect(address, subprotocols=[Subprotocol("janus-protocol")], compression=None, max_size=None)
            return self.stack.enter_context(line)
        except OSError:
            return None

    def ask(self, **request: Any) -> dict[str, Any]:
        """One request; its last answer."""
        transaction = str(next(self.numbers))
        self.line.send(json.dumps({**request, "transaction": transaction}))
        while True:
            answer: dict[str, Any] = json.loads(self.line.recv(timeout=20))
            if answer.get("transaction") == transaction and answer["janus"] != "ack":
                assert answer["janus"] != "error" and "error" not in answer.get("plugindata", {}).get("data", {}), answer
                return answer

    def attach(self) -> int:
        return int(self.ask(janus="attach", session_id=self.session, plugin="janus.plugin.streaming")["data"]["id"])

    def tell(self, handle: int, body: dict[str, Any], **more: Any) -> dict[str, Any]:
        return self.ask(janus="message", session_id=self.session, handle_id=handle, body=body, **more)

    def mountpoint(self) -> dict[str, int]:
        """Makes what viewers watch; the UDP ports on loopback that take its RTP."""
        made = self.tell(self.attach(), {"request": "create", "type": "rtp", "id": 1, "media": MEDIA})
        return {port["type"]: port["port"] for port in made["plugindata"]["data"]["stream"]["ports"]}

    def watch(self, receivers: Receivers) -> None:
        """One more viewer."""
        handle = self.attach()
        offer = self.tell(handle, {"request": "watch", "id": 1})["jsep"]["sdp"]
        self.tell(handle, {"request": "start"}, jsep={"type": "answer", "sdp": receivers.answer(offer)})

    @contextlib.contextmanager
    def watching(self, viewers: int) -> Iterator[Receivers]:
        """So many viewers, all with a picture. They are gone with their session, and the next ones get another."""
        receivers = Receivers()
        try:
            for _ in range(viewers):
                self.watch(receivers)
            receivers.wait()
            yield receivers
        finally:
            receivers.stop()
        self.ask(janus="destroy", session_id=self.session)
        self.session = self.ask(janus="create")["data"]["id"]

    def stop(self) -> None:
        self.stack.close()
        end(self.process)


def why_not() -> str | None:
    """Why there is no Janus here."""
    if not (FOLDER / "usr/bin/janus").exists():
        return "Debian's package janus is not there: ci/bench janus fetches it"
    found = subprocess.run([str(FOLDER / "usr/bin/janus"), "--version"], capture_output=True, text=True)
    return None if found.returncode == 0 else found.stderr.strip()


@contextlib.contextmanager
def running(program: Path, clip: Path, bitrate: int) -> Iterator[Janus]:
    """Janus, and apart from it what makes the encode and sends it there."""
    with tempfile.TemporaryDirectory() as folder:
        janus = Janus(Path(folder))
        try:
            ports = janus.mountpoint()
            source = subprocess.Popen([str(program), f"rtp:{ports['video']}:{ports['audio']}", str(clip), str(bitrate), "encoded"])
            try:
                yield janus
            finally:
                end(source)
        finally:
            janus.stop()
