"""A link that delays, loses and narrows: a relay in this process between two TUN interfaces, one of them in a network namespace.

In: packets of either side, what the weather is. Out: the same packets later, or not. Never: a packet changed; two packets in another
order. Kernels without netem have no other way.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

from links import Link

#: What TUNSETIFF is called with: a TUN interface, without four bytes before each packet.
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
#: Longest packet that is relayed, bytes.
MTU = 1500
#: How long a packet may wait for a narrow link, as in a router with some buffer, s.
QUEUE = 0.3


def why_not() -> str | None:
    """Why there can be no such links here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    return None if os.path.exists("/dev/net/tun") else "the kernel has no TUN interfaces (/dev/net/tun)"


@dataclass(frozen=True)
class Weather:
    """What becomes of packets.

    ``loss`` is a share of packets, either way; ``burst`` how many are lost in a row, on average (1: each by itself); ``delay`` the time there
    and back that is added, in seconds, half of it either way; ``rate`` kbit/s towards the viewer.
    """

    loss: float = 0.0
    burst: float = 1.0
    delay: float = 0.0
    rate: float | None = None


class Way:
    """One direction."""

    def __init__(self, into: int, seed: int, narrow: bool):
        self.into, self.narrow = into, narrow
        self.dice = random.Random(seed)
        self.losing = False
        #: When the link has sent what it has.
        self.free = 0.0
        #: When to hand on what.
        self.waiting: deque[tuple[float, bytes]] = deque()

    def loses(self, weather: Weather) -> bool:
        """Gilbert's model: a good state without losses, and a bad one in which all is lost."""
        if not weather.loss:
            return False
        leave = 1 / max(weather.burst, 1.0)
        enter = min(1.0, weather.loss / (1 - weather.loss) * leave)
        if weather.burst <= 1:
            return self.dice.random() < weather.loss
        self.losing = self.dice.random() >= leave if self.losing else self.dice.random() < enter
        return self.losing

    def take(self, packet: bytes, weather: Weather, now: float) -> None:
        if self.loses(weather):
            return
        begin = max(now, self.free)
        if weather.rate and self.narrow:
            if begin - now > QUEUE:
                return
            self.free = begin + len(packet) * 8 / 1000 / weather.rate
            begin = self.free
        due = begin + weather.delay / 2
        if self.waiting:
            due = max(due, self.waiting[-1][0])
        self.waiting.append((due, packet))

    def hand_on(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            os.write(self.into, self.waiting.popleft()[1])


class BadLink(Link):
    """A namespace behind such a link; ``weather`` may be set at any time."""

    def __init__(self, name: str, port: int):
        self.weather = Weather()
        self.ends: list[int] = []
        super().__init__(name, port)
        self.stopped, self.wake = os.pipe()
        self.relay = threading.Thread(target=self._carry, daemon=True)
        self.relay.start()

    def _wire(self) -> None:
        self.ends = [tun(self.near), self._within(lambda: tun(self.far))]

    def _carry(self) -> None:
        near, far = self.ends
        ways = {near: Way(far, 1, narrow=True), far: Way(near, 2, narrow=False)}
        while True:
            due = [way.waiting[0][0] for way in ways.values() if way.waiting]
            rest = max(0.0, min(due) - time.monotonic()) if due else None
            ready, _, _ = select.select([near, far, self.stopped], [], [], rest)
            if self.stopped in ready:
                return
            now = time.monotonic()
            for end in ready:
                packet = os.read(end, MTU + 100)
                # What interfaces say of themselves in IPv6 is nobody's here.
                if packet and packet[0] >> 4 == 4:
                    ways[end].take(packet, self.weather, now)
            for way in ways.values():
                way.hand_on(now)

    def close(self) -> None:
        os.write(self.wake, b"x")
        self.relay.join(5)
        for end in (*self.ends, self.stopped, self.wake):
            os.close(end)
        super().close()


def tun(name: str) -> int:
    """Makes a TUN interface in this thread's namespace; it lasts as long as the descriptor is open."""
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return end
