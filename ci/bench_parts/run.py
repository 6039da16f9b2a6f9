"""What the parts of one run share: the clip, the device under test, counts, and what it is compared with.

In: what was asked for. Out: senders, one at a time. Never: two senders at work at the same time.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ContextManager, Generator, Iterator

from bench_parts import janus
from bench_parts.processes import end
from bench_parts.receivers import Receivers, producers, watching
from device import TOP, Device, wait_for

STOCK = TOP / "target/release/examples/stock_sink"
#: kbit/s of the picture, Duplex's default.
BITRATE = 2000
#: Columns of the table.
DUPLEX, RAW, ENCODED, JANUS = "Duplex", "stock, raw", "stock, encoded", "Janus"


@dataclass
class Sender:
    """A process that sends, and a way to watch it; ``producer`` is its peer id where it has one."""

    name: str
    pid: int
    watching: Callable[[int], ContextManager[Receivers]]
    producer: str | None = None


@dataclass
class Run:
    """One run of the bench."""

    parts: list[str]
    quick: bool
    clip: Path
    device: Device
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def signalling(self) -> str:
        return self.device.signalling.replace("localhost", "127.0.0.1")

    def duplex(self) -> Sender:
        assert self.device.process
        (own,) = producers(self.signalling)
        return Sender(DUPLEX, self.device.process.pid, lambda viewers: watching(self.signalling, own, viewers), own)

    def metric(self, name: str) -> float:
        """One figure of the device's own, without labels."""
        with urllib.request.urlopen(f"{self.device.url}metrics", timeout=10) as answer:
            (value,) = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.M)
        return float(value)

    @contextlib.contextmanager
    def stock(self, name: str, *words: str) -> Iterator[Sender]:
        """A stock producer at the device's own signalling server; without words as it is delivered, with all of its codecs."""
        (own,) = producers(self.signalling)
        process = subprocess.Popen([str(STOCK), self.signalling, str(self.clip), *words])
        try:
            wait_for("the stock producer", lambda: len(producers(self.signalling)) == 2, 30, 0.5)
            (other,) = set(producers(self.signalling)) - {own}
            before = len(self.device.lines)
            yield Sender(name, process.pid, lambda viewers: watching(self.signalling, other, viewers), other)
            strayed = [line for line in self.device.lines[before:] if "viewer joins" in line]
            assert not strayed, f"who should have watched the stock producer watched Duplex: {strayed}"
        finally:
            end(process)
        wait_for("the stock producer is gone", lambda: producers(self.signalling) == [own], 10, 0.2)

    @contextlib.contextmanager
    def janus(self) -> Iterator[Sender]:
        with janus.running(STOCK, self.clip, BITRATE) as server:
            yield Sender(JANUS, server.process.pid, server.watching)

    def senders(self) -> Generator[Sender, None, None]:
        """Duplex, and the others that were asked for, each for as long as the caller is at it."""
        yield self.duplex()
        if "cpu" in self.parts:
            with self.stock(RAW, str(BITRATE)) as sender:
                yield sender
            with self.stock(ENCODED, str(BITRATE), "encoded") as sender:
                yield sender
        if "janus" in self.parts:
            with self.janus() as sender:
                yield sender
