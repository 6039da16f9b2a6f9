"""Links of their own between device and viewers: network namespaces, which tests narrow, cut and mend.

In: a name, the port of the device's signalling. Out: a namespace, and a way to that port on its loopback. Never: a way out of this machine;
a namespace that outlives :meth:`Link.close`.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Callable, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = itertools.count(os.getpid() % 200)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def why_not() -> str | None:
    """Why there can be no such links here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"duplex-probe-{os.getpid()}"
    try:
        ip("netns", "add", probe)
        subprocess.run(["ip", "netns", "exec", probe, *"tc qdisc add dev lo root tbf rate 500kbit burst 10k latency 100ms".split()],
                       check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no namespaces or no tbf here: {getattr(error, 'stderr', '') or error}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    return None


class Link:
    """A namespace behind a link that can be narrowed and cut, with a way to the device's signalling on its loopback."""

    def __init__(self, name: str, port: int):
        number = next(NUMBERS)
        self.space, self.near, self.far = f"duplex-{name}-{os.getpid()}", f"dn{number}", f"df{number}"
        #: Addresses of the link's two ends.
        self.device, self.viewer = f"10.213.{number}.1", f"10.213.{number}.2"
        ip("netns", "add", self.space)
        self._wire()
        ip("addr", "add", f"{self.device}/30", "dev", self.near)
        ip("link", "set", self.near, "up")
        ip("-n", self.space, "addr", "add", f"{self.viewer}/30", "dev", self.far)
        ip("-n", self.space, "link", "set", self.far, "up")
        ip("-n", self.space, "link", "set", "lo", "up")
        self.listener = self._listener()
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._relay, args=(port,), daemon=True).start()

    def _wire(self) -> None:
        """Makes both ends, one of them in the namespace."""
        ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.space)

    def narrow(self, rate: str) -> None:
        words = f"tc qdisc replace dev {self.near} root tbf rate {rate} burst 10k latency 200ms"
        subprocess.run(words.split(), check=True)

    def cut(self) -> None:
        """Nothing gets through any more, either way, and nobody is told: packets go to an address that is nobody's."""
        self._neighbours("02:00:00:00:00:01", "02:00:00:00:00:01")

    def mend(self) -> None:
        """Undoes :meth:`cut`."""
        self._neighbours(self._address(self.far, "-n", self.space), self._address(self.near))

    def _neighbours(self, far: str, near: str) -> None:
        ip("neigh", "replace", self.viewer, "lladdr", far, "dev", self.near, "nud", "permanent")
        ip("-n", self.space, "neigh", "replace", self.device, "lladdr", near, "dev", self.far, "nud", "permanent")

    @staticmethod
    def _address(interface: str, *where: str) -> str:
        shown = subprocess.run(["ip", *where, "-j", "link", "show", interface], check=True, capture_output=True, text=True)
        return str(json.loads(shown.stdout)[0]["address"])

    def widen(self) -> None:
        subprocess.run(["tc", "qdisc", "del", "dev", self.near, "root"], check=True)

    def sent(self) -> int:
        """Bytes that went to the viewer, what the bucket dropped not among them."""
        return int(Path(f"/sys/class/net/{self.near}/statistics/tx_bytes").read_text())

    def close(self) -> None:
        self.listener.close()
        subprocess.run(["ip", "link", "del", self.near], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.space], capture_output=True)

    def _listener(self) -> socket.socket:
        """A socket that listens on the namespace's loopback."""
        return self._within(lambda: socket.create_server(("127.0.0.1", 0)))

    def _within(self, make: Callable[[], T]) -> T:
        """Calls it in the namespace: in a thread that goes there, for a namespace is a thread's own."""
        made: list[T] = []

        def enter() -> None:
            with open(f"/run/netns/{self.space}") as space:
                if LIBC.setns(space.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            made.append(make())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return made[0]

    def _relay(self, port: int) -> None:
        while True:
            try:
                viewer, _ = self.listener.accept()
            except OSError:
                return
            device = socket.create_connection(("127.0.0.1", port))
            for one, other in ((viewer, device), (device, viewer)):
                threading.Thread(target=pump, args=(one, other), daemon=True).start()


def pump(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The other end is gone: so is the need.
