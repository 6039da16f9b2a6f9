"""The load generator: many viewers in one process that decode nothing (``ci/receivers.rs``), and the signalling for it.

In: offers, or a signalling server and a producer. Out: what the viewers counted. Never: a picture that is decoded.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from contextlib import ExitStack
from typing import Any, Iterator

from websockets.sync.client import ClientConnection, connect

from bench_parts.processes import end
from device import TOP, wait_for

PROGRAM = TOP / "target/release/examples/receivers"
#: Answers of it: what each viewer counted.
Report = list[dict[str, Any]]


class Receivers:
    """The process; ``space`` is a network namespace, ``address`` one of its addresses."""

    def __init__(self, address: str | None = None, space: str | None = None):
        words = [*(["ip", "netns", "exec", space] if space else []), str(PROGRAM), address or own_address()]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, **command: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the load generator ended"
        return json.loads(line)

    def answer(self, offer: str) -> str:
        """Makes one more viewer; its answer to this offer."""
        self.count += 1
        return str(self.ask(viewer=self.count, offer=offer)["answer"])

    def reset(self) -> None:
        """Counts anew."""
        self.ask(reset=True)

    def report(self) -> Report:
        return list(self.ask(report=True)["report"])

    def wait(self, seconds: float = 30.0) -> None:
        """Waits until every viewer gets pictures and has told so."""
        wait_for(f"{self.count} viewers get pictures", lambda: all(one["connected"] and one["frames"] > 30 for one in self.report()), seconds, 0.5)

    def stop(self) -> None:
        end(self.process)


def own_address() -> str:
    """An address of this machine: libnice leaves loopback's out where there are others. What goes there stays within the machine."""
    shown = subprocess.run(["ip", "-j", "-4", "addr", "show", "up", "scope", "global"], check=True, capture_output=True, text=True)
    found = [address["local"] for interface in json.loads(shown.stdout) for address in interface.get("addr_info", [])]
    return found[0] if found else "127.0.0.1"


def together(report: Report, seconds: float) -> dict[str, float]:
    """One line of figures for all viewers of a report that is so old."""
    return {
        "viewers": len(report),
        "fps_least": min(one["frames"] for one in report) / seconds,
        "skipped": sum(one["skipped"] for one in report),
        "gap_ms": max(one["gap_ms"] for one in report),
        "lost": sum(one["lost"] for one in report),
        "kbits": sum(one["bytes"] for one in report) * 8 / 1000 / seconds / len(report),
        "packets_per_second": sum(one["packets"] for one in report) / seconds / len(report),
    }


def reach(signalling: str, **way: Any) -> ClientConnection:
    """A connection to a signalling server. About one TLS connection in 500 of this client never sends its request: it is tried again."""
    for last in (False, False, True):
        try:
            return connect(signalling, compression=None, max_size=None, open_timeout=5, **way)
        except TimeoutError:
            if last:
                raise
    raise AssertionError("unreachable")


@contextlib.contextmanager
def watch(receivers: Receivers, signalling: str, producer: str, **way: Any) -> Iterator[None]:
    """One more viewer of a producer, by the signalling protocol of gst-plugins-rs; it watches as long as the connection lasts. ``way``: trust and
    headers of the connection."""
    with reach(signalling, **way) as socket:
        socket.send(json.dumps({"type": "startSession", "peerId": producer}))
        while True:
            message = json.loads(socket.recv(timeout=20))
            assert message["type"] != "error", message
            if message["type"] == "peer" and "sdp" in message:
                break
        answer = receivers.answer(message["sdp"]["sdp"])
        socket.send(json.dumps({"type": "peer", "sessionId": message["sessionId"], "sdp": {"type": "answer", "sdp": answer}}))
        yield


@contextlib.contextmanager
def watching(signalling: str, producer: str, viewers: int) -> Iterator[Receivers]:
    """So many viewers of a producer, all with a picture."""
    with ExitStack() as stack:
        receivers = Receivers()
        stack.callback(receivers.stop)
        for _ in range(viewers):
            stack.enter_context(watch(receivers, signalling, producer))
        receivers.wait()
        yield receivers


def producers(signalling: str, **way: Any) -> list[str]:
    """Peer ids of the producers that a viewer sees."""
    with reach(signalling, **way) as socket:
        socket.send(json.dumps({"type": "list"}))
        for text in socket:
            message = json.loads(text)
            if message["type"] == "list":
                return [producer["id"] for producer in message["producers"]]
    return []
