"""The quality ladder on links of their own: network namespaces, with tc's token bucket between device and viewer.

One viewer's link is narrowed to 500 kbit/s and widened again; the other's is never touched. Figures are printed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import time
import urllib.request
from typing import Callable, Iterator

import pytest

from device import Device, wait_for
from links import Link, why_not
from stock import PLUGINS, Program, signaller, source
from test_monitoring import metrics

class Viewer(Program):
    """A stock receiver in a namespace. It decodes; each decoded picture has its time and its size."""

    def __init__(self, link: Link):
        pipeline = source(signaller(f"ws://127.0.0.1:{link.port}"))
        self.pictures: list[tuple[float, int]] = []
        super().__init__(["ip", "netns", "exec", link.space, "gst-launch-1.0", "-v", *shlex.split(pipeline)],
                         env={"GST_PLUGIN_PATH": str(PLUGINS)})

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            found = re.search(r":seen: last-message = chain .*\((\d+) bytes", line)
            if found:
                self.pictures.append((time.monotonic(), int(found[1])))
            else:
                self.lines.append(line.rstrip("\n"))

    def rung(self) -> int | None:
        """The rung of the last picture, by its size."""
        if not self.pictures:
            return None
        size = self.pictures[-1][1]
        return 0 if size > 200_000 else 1 if size > 50_000 else 2

    def since(self, moment: float) -> list[tuple[float, int]]:
        return [picture for picture in list(self.pictures) if picture[0] >= moment]

    def gap(self, moment: float) -> float:
        """Longest time between two pictures since then, seconds."""
        times = [at for at, _ in self.since(moment)]
        return max((b - a for a, b in itertools.pairwise(times)), default=float("inf"))


@pytest.fixture
def links(device: Callable[..., Device], clip: Path) -> Iterator[tuple[Device, Link, Link]]:
    if reason := why_not():
        pytest.skip(reason)
    one = device("--video", f"file:{clip}", "--audio", f"file:{clip}", "--video-bitrate", "1500",
                 "--log", "info,duplex::outbound=debug", plain=True)
    made: list[Link] = []
    try:
        for name in ("wide", "narrow"):
            made.append(Link(name, one.port))
        yield one, made[0], made[1]
    finally:
        for link in made:
            link.close()


def key_frames(device: Device, rung: int) -> int:
    return sum(re.search(rf"key frame rung={rung}\b", line) is not None for line in device.lines)


def kbits(link: Link, seconds: float) -> float:
    before, began = link.sent(), time.monotonic()
    time.sleep(seconds)
    return (link.sent() - before) * 8 / 1000 / (time.monotonic() - began)


def choose(device: Device, peer: str, quality: str) -> int:
    """Asks for a quality as the page does; the HTTP status."""
    request = urllib.request.Request(f"{device.url}api/v1/quality", json.dumps({"peer": peer, "quality": quality}).encode(),
                                     {"Content-Type": "application/json", "Origin": device.url.rstrip("/")})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def test_each_viewer_gets_what_its_link_carries(links: tuple[Device, Link, Link]) -> None:
    """A viewer at 500 kbit/s goes down unaided and comes back when freed; the other one notices nothing."""
    device, wide_link, narrow_link = links
    wide, narrow = Viewer(wide_link), Viewer(narrow_link)
    try:
        wait_for("both viewers see the whole picture", lambda: wide.rung() == narrow.rung() == 0, 40)
        time.sleep(6)
        before = kbits(wide_link, 6)
        keys = key_frames(device, 0)

        began = time.monotonic()
        narrow_link.narrow("500kbit")
        device.wait_for_log("viewer moves on the quality ladder", 10)
        decided = time.monotonic() - began
        wait_for("the narrow viewer sees a smaller picture", lambda: narrow.rung() in (1, 2), 10, 0.02)
        down = time.monotonic() - began
        during = kbits(wide_link, 12)
        keys_during = key_frames(device, 0) - keys
        assert wide.rung() == 0 and bitrate(device, 0) == 1500, "the other's narrow link lowered the whole picture's bit rate"
        settled = time.monotonic()
        assert narrow.rung() != 0, "back on the top rung while its link is narrow"

        narrow_link.widen()
        wait_for("the freed viewer sees the whole picture again", lambda: narrow.rung() == 0, 60)
        up = time.monotonic() - settled
        keys_up = key_frames(device, 0) - keys - keys_during
        time.sleep(8)
        assert narrow.rung() == 0, "it did not stay"
        gap_wide, pictures = wide.gap(began), len(wide.since(began))
        print(f"moved after {decided:.2f} s, smaller picture seen after {down:.2f} s; back at the top {up:.1f} s after the link widened")
        print(f"wide viewer: {before:.0f} kbit/s before, {during:.0f} during; key frames {keys_during} while the other was down, "
              f"{keys_up} while it climbed; {pictures} pictures, longest gap {gap_wide * 1000:.0f} ms")
        print(f"narrow viewer: longest gap {narrow.gap(began) * 1000:.0f} ms while narrowed and back, "
              f"{narrow.gap(settled) * 1000:.0f} ms while climbing")
        for line in device.lines:
            if "moves on the quality ladder" in line:
                print(line)
        assert decided < 2, f"{decided:.1f} s until it was moved"
        # A trial of the top rung asks it for one key frame; moves between lower rungs ask it for none.
        assert keys_during <= 1, "the other's narrow link cost this viewer key frames"
        assert keys_up <= 3
        assert abs(during - before) < 0.35 * before, "the other's narrow link changed this viewer's bit rate"
        # A moment in which this machine does something else shows as well; a picture that waits for a key frame stands still for longer.
        assert gap_wide < 1.0 and down < 6, (gap_wide, down)
    finally:
        for viewer in (wide, narrow):
            viewer.stop()
            print("\n".join(viewer.lines[-5:]))


def bitrate(device: Device, rung: int) -> int:
    """What that rung's encoder is set to, kbit/s."""
    return round(metrics(device)[f'duplex_encoder_target_bits_per_second{{media="picture",rung="{rung}"}}'] / 1000)


def test_a_link_between_two_rungs_gets_the_upper_one_with_less(links: tuple[Device, Link, Link]) -> None:
    """A viewer alone, on a link that nearly carries the whole picture, gets that with a lower bit rate, and the rest when freed."""
    device, _, link = links
    viewer = Viewer(link)
    try:
        wait_for("the viewer sees the whole picture", lambda: viewer.rung() == 0, 40)
        time.sleep(6)
        before = kbits(link, 6)
        assert bitrate(device, 0) == 1500

        began = time.monotonic()
        link.narrow("1500kbit")
        wait_for("a lower bit rate of the whole picture", lambda: bitrate(device, 0) < 1500 and viewer.rung() == 0, 60, 0.05)
        lowered = time.monotonic() - began
        time.sleep(2)
        calm = time.monotonic()
        during = kbits(link, 20)
        whole = sum(size > 200_000 for _, size in viewer.since(calm)) / len(viewer.since(calm))
        low, gap = bitrate(device, 0), viewer.gap(calm)

        link.widen()
        freed = time.monotonic()
        whole_since: float | None = None
        fallen = 0

        def whole_again() -> bool:
            """All of it for six seconds on end: what the narrow link lost is still reported for a while after it widened."""
            nonlocal whole_since, fallen
            if bitrate(device, 0) != 1500 or viewer.rung() != 0:
                fallen += whole_since is not None
                whole_since = None
            elif whole_since is None:
                whole_since = time.monotonic()
            return whole_since is not None and time.monotonic() - whole_since >= 6

        wait_for("the whole bit rate again, and that it stays", whole_again, 150, 0.25)
        assert whole_since
        print(f"{before:.0f} kbit/s before; narrowed to 1500: the whole picture with less after {lowered:.2f} s, then {during:.0f} kbit/s, "
              f"{whole * 100:.0f} % of the pictures whole, encoder at {low} kbit/s, longest gap {gap * 1000:.0f} ms; "
              f"all of it again, to stay, {whole_since - freed:.1f} s after the link widened, fallen {fallen} times")
        # Without it the viewer would stand on the next rung, of 450 kbit/s, but for seconds.
        assert whole > 0.7 and 650 < during < 1600
    finally:
        viewer.stop()
        for line in device.lines:
            if "follows its viewers' links" in line or "moves on the quality ladder" in line:
                print(line)
        print("\n".join(viewer.lines[-5:]))


def encoded(device: Device) -> list[int]:
    """Pictures of each rung so far."""
    found = metrics(device)
    return [round(found.get(f'duplex_encoded_buffers_total{{media="picture",rung="{rung}"}}', 0)) for rung in range(3)]


def test_a_viewers_own_choice(links: tuple[Device, Link, Link]) -> None:
    """The choice of quality moves a viewer at once, both ways, without a stop; a size that nobody watches is not encoded."""
    device, link, _ = links
    viewer = Viewer(link)
    try:
        wait_for("the viewer sees the whole picture", lambda: viewer.rung() == 0, 40)
        match = device.wait_for_log(r'viewer connected peer="([^"]+)"')
        time.sleep(2)
        began, gaps = time.monotonic(), []
        for quality, rung in (("low", 2), ("medium", 1), ("high", 0), ("low", 2), ("high", 0), ("auto", 0)):
            moved = time.monotonic()
            assert choose(device, match[1], quality) == 204
            wait_for(f"{quality}: rung {rung}", lambda: viewer.rung() == rung, 10, 0.01)
            time.sleep(1.5)
            gaps.append(round(viewer.gap(moved - 0.2) * 1000))
            before = encoded(device)
            time.sleep(1)
            more = [now - then for then, now in zip(before, encoded(device))]
            assert more[rung] > 10 and [count for place, count in enumerate(more) if place != rung] == [0, 0], f"{quality}: {more} pictures encoded in a second"
        print(f"{len(viewer.since(began))} pictures in {time.monotonic() - began:.1f} s; longest gap at each move, ms: {gaps}")
        assert max(gaps) < 500
    finally:
        viewer.stop()
        print("\n".join(viewer.lines[-5:]))
