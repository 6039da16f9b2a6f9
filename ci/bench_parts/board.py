"""What viewers cost a device elsewhere, a Raspberry Pi say, by what its own metrics say of its process.

In: its address, its authority's certificate, the owner's password. Out: figures by count of viewers, how hot it got. Never: a certificate
unverified; a setting of the device changed; a viewer left behind.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import ssl
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench_parts.cost import IDLE, QUICK_VIEWERS, SETTLE, VIEWERS
from bench_parts.processes import cpu_of, say
from bench_parts.receivers import Receivers, own_address, producers, together, watch
from bench_parts.table import Section


@dataclass
class Board:
    """A device that serves, and its owner's session."""

    url: str
    ca: Path
    host: str = field(init=False)
    port: int = field(init=False)
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname:
            raise SystemExit(f"--board = {self.url}: must be the address of the device's page, https://NAME:8443/")
        self.host, self.port = parts.hostname, parts.port or 443
        self.tls = ssl.create_default_context(cafile=str(self.ca))
        self.headers = {"Origin": f"https://{parts.netloc}"}

    def sign_in(self, password: str) -> None:
        """As a browser does.

        Raises SystemExit with a sentence when the device does not take it.
        """
        status, fields, body = self.call("POST", "/api/v1/sign-in", json.dumps({"password": password}))
        if status != 200:
            raise SystemExit(f"{self.url} does not take this password ({status}): {body[:200]}")
        self.headers["Cookie"] = fields["set-cookie"].split(";")[0]

    def call(self, method: str, path: str, body: str | None = None) -> tuple[int, dict[str, str], str]:
        """One request; status, header fields (lower case), body."""
        line = http.client.HTTPSConnection(self.host, self.port, timeout=20, context=self.tls)
        try:
            kind = {"Content-Type": "application/json"} if body else {}
            line.request(method, path, body, {**self.headers, **kind})
            answer = line.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read().decode()
        finally:
            line.close()

    def process(self) -> tuple[float, float]:
        """Seconds of processor time so far and MB of resident memory of its service."""
        status, _, text = self.call("GET", "/metrics")
        assert status == 200, f"/metrics: {status}; is this the owner's password?"
        figures = dict(re.findall(r"^(process_\w+) (\S+)$", text, re.M))
        return float(figures["process_cpu_seconds_total"]), float(figures["process_resident_memory_bytes"]) / 2**20

    def health(self) -> dict[str, Any]:
        status, _, text = self.call("GET", "/api/v1/device")
        assert status == 200, f"/api/v1/device: {status}"
        return dict(json.loads(text))

    @property
    def way(self) -> dict[str, Any]:
        """How its signalling is reached."""
        return {"ssl": self.tls, "additional_headers": {name: value for name, value in self.headers.items() if name != "Origin"}, "origin": self.headers["Origin"]}

    @property
    def signalling(self) -> str:
        return f"wss://{self.host}:{self.port}/signalling"

    def own_address(self) -> str:
        """The address of this machine by which the device reaches it."""
        with socket.socket(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0][0], socket.SOCK_DGRAM) as way:
            way.connect((self.host, self.port))
            address = str(way.getsockname()[0])
        return own_address() if ipaddress.ip_address(address).is_loopback else address


def load(board: Board, producer: str, viewers: int, seconds: float) -> dict[str, float]:
    """Processor time in per cent of a core, memory in MB, what viewers got, and the heat, with so many of them."""
    say(f"{board.host}: {viewers} viewers")
    with ExitStack() as stack:
        if viewers:
            receivers = Receivers(board.own_address())
            stack.callback(receivers.stop)
            for _ in range(viewers):
                stack.enter_context(watch(receivers, board.signalling, producer, **board.way))
            receivers.wait()
            time.sleep(SETTLE)
            receivers.reset()
            generator = cpu_of(receivers.pid)
        else:
            time.sleep(IDLE)
        before, began = board.process()[0], time.monotonic()
        time.sleep(seconds)
        after, memory = board.process()
        took = time.monotonic() - began
        # By its own clock it is asked a moment earlier or later each time: a hundredth of the time, not of the figure.
        found = {"cpu": (after - before) / took * 100, "memory": memory, **heat(board.health())}
        if viewers:
            figures = together(receivers.report(), took)
            assert figures["packets_per_second"] > 30, f"viewers received too little: {figures}"
            found |= {"generator": (cpu_of(receivers.pid) - generator) / took * 100, **figures}
        return found


def heat(health: dict[str, Any]) -> dict[str, float]:
    """The hottest sensor, °C, where the device tells it."""
    sensors = [sensor["celsius"] for sensor in health["temperatures"]]
    return {"celsius": max(sensors)} if sensors else {}


def measure(board: Board, quick: bool) -> dict[str, Any]:
    """All counts; what the device is."""
    seconds, counts = (6, QUICK_VIEWERS) if quick else (20, VIEWERS)
    (producer,) = producers(board.signalling, **board.way)[:1] or [""]
    if not producer:
        raise SystemExit(f"{board.url} cannot be called yet")
    if watched := json.loads(board.call("GET", "/api/v1/sessions")[2])["sessions"]:
        say(f"somebody is connected to it already, which is measured with the rest: {len(watched)}")
    found = {str(count): load(board, producer, count, seconds) for count in counts}
    health = board.health()
    return {"load": found, "model": health["model"], "kernel": health["kernel"], "processors": health["processors"], "throttling": health["throttling"]}


def rows(found: dict[str, Any]) -> Section:
    """A table with one column, the device's."""
    name = f"{found['model'] or 'the device'}, {found['processors']} cores"
    section, figures = Section("What the sender costs"), found["load"]
    least, most = list(figures)[1], list(figures)[-1]
    for what, words, unit in (("cpu", "processor", "% of a core"), ("memory", "memory", "MB")):
        for count, one in figures.items():
            section.add(f"{words}, {count} viewers, {unit}", {name: one[what]})
        section.add(f"{words}, each further viewer, {unit}", {name: (figures[most][what] - figures[least][what]) / (int(most) - int(least))}, 2)
    for what, words, digits in (("fps_least", "pictures a second, the viewer with the fewest", 1), ("lost", "packets missing, all viewers together", 0),
                                ("kbits", "each viewer gets, kbit/s", 0), ("celsius", "hottest sensor, °C", 1)):
        if what in figures[most]:
            section.add(words, {name: figures[most][what]}, digits)
    return section
