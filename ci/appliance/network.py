"""The network of the emulated boards.

::

    board --- tap0 --\\
    board --- tap1 ---+-- bridge 10.77.0.1: the tests, browsers, stock clients; DHCP by dnsmasq
                      |
                      \\-- nothing else: all of it is in a network namespace that ci/test-image makes, without a way out

In: a namespace of one's own. Out: boards with an address each, that multicast reaches and whose packets reach every client as on a home network.
Never: an interface on the machine's own network, a packet that leaves.

:class:`Forwards` is what is left where no namespace can be made: QEMU's own network, and forwarded ports.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

#: Set by ci/test-image for what it runs inside of the namespace.
INSIDE = "DUPLEX_TEST_NETWORK"
BRIDGE = "duplex0"
HOST = "10.77.0.1"


@dataclass(frozen=True)
class Port:
    """Where one board is reached, and what QEMU is told for it."""

    host: str
    https: int
    http: int
    ssh: int
    #: The address at which the board reaches what listens here.
    here: str
    words: list[str] = field(default_factory=list)


class Lan:
    """A bridge with a DHCP server; one tap per board."""

    def __init__(self, folder: Path):
        if not os.environ.get(INSIDE):
            raise SystemExit("error: this target needs a network namespace of its own; run it by ci/test-image, or take TARGET=qemu-user")
        self.count = 0
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{HOST}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        # Multicast goes out on this network without a route to anywhere else.
        run("ip", "route", "add", "default", "dev", BRIDGE)
        hosts = [f"--dhcp-host={mac(number)},{address(number)}" for number in range(64)]
        self.dhcp = subprocess.Popen(
            [shutil.which("dnsmasq") or "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", f"--interface={BRIDGE}", "--bind-interfaces",
             "--no-resolv", "--no-hosts", "--dhcp-range=10.77.0.200,10.77.0.250,12h", "--dhcp-authoritative", f"--dhcp-leasefile={folder}/leases",
             f"--pid-file={folder}/dnsmasq.pid", f"--log-facility={folder}/dnsmasq.log", "--log-dhcp", *hosts],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def port(self) -> Port:
        """A place for one more board."""
        number, self.count = self.count, self.count + 1
        tap = f"tap{number}"
        run("ip", "tuntap", "add", tap, "mode", "tap")
        run("ip", "link", "set", tap, "master", BRIDGE, "up")
        words = ["-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no", "-device", f"virtio-net-pci,netdev=net,romfile=,mac={mac(number)}"]
        return Port(address(number), 8443, 80, 22, HOST, words)

    def close(self) -> None:
        self.dhcp.terminate()
        self.dhcp.wait(10)
        for number in range(self.count):
            subprocess.run(["ip", "link", "del", f"tap{number}"], check=False)
        run("ip", "link", "del", BRIDGE)


class Forwards:
    """QEMU's own network: no multicast, and clients are reached only after they have called first."""

    def port(self) -> Port:
        https, http, ssh = free_ports(3)
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{inner}" for port, inner in ((https, 8443), (http, 80), (ssh, 22)))
        return Port("localhost", https, http, ssh, "10.0.2.2", ["-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="])

    def close(self) -> None:
        """Nothing is left of it once QEMU has ended."""


def mac(number: int) -> str:
    return f"52:54:00:77:00:{number:02x}"


def address(number: int) -> str:
    return f"10.77.0.{10 + number}"


def run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(words)}: {done.stderr.strip()}")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; QEMU takes no 0."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


A, PTR = 1, 12


def ask_multicast(name: str, kind: int, seconds: float = 30.0) -> list[bytes]:
    """Asks the network for a name as any computer does (mDNS); the answers' data, empty if nobody knows it."""
    question = struct.pack(">6H", 0, 0, 1, 0, 0, 0) + labels(name) + struct.pack(">2H", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
        one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton(HOST))
        one.bind(("", 5353))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            one.sendto(question, ("224.0.0.251", 5353))
            one.settimeout(2)
            try:
                while True:
                    message = one.recv(9000)
                    if message[2] & 0x80 and (found := answers(message, name, kind)):
                        return found
            except TimeoutError:
                continue
    return []


def labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def answers(message: bytes, name: str, kind: int) -> list[bytes]:
    """Data of the records of this name and kind in a DNS message; names in it come as text."""
    questions, count = struct.unpack_from(">2H", message, 4)
    at, found = 12, []
    for _ in range(questions):
        at = read_name(message, at)[1] + 4
    for _ in range(count):
        owner, at = read_name(message, at)
        what, _, _, size = struct.unpack_from(">2HIH", message, at)
        at += 10
        if what == kind and owner.lower() == name.lower():
            found.append(read_name(message, at)[0].encode() if kind == PTR else message[at:at + size])
        at += size
    return found


def read_name(message: bytes, at: int) -> tuple[str, int]:
    """A name, and where it ends."""
    parts, end = [], 0
    while message[at]:
        if message[at] >= 0xC0:
            end = end or at + 2
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
        else:
            parts.append(message[at + 1:at + 1 + message[at]].decode(errors="replace"))
            at += 1 + message[at]
    return ".".join(parts), end or at + 1
