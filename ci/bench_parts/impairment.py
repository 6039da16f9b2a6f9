"""Two viewers, one of them on a bad link: how long its picture stands still, what it sees and hears, and whether the other one notices.

In: Duplex, and a stock webrtcsink with raw input, which adapts. Out: for each weather what Chromium says of its own picture and sound,
what a viewer on a good link counted, and how many key frames Duplex made. Never: a packet beyond this machine; a bad link before the picture
is there.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_parts.bad_link import BadLink, Weather, why_not
from bench_parts.joins import opened
from bench_parts.processes import say
from bench_parts.receivers import Receivers, together
from bench_parts.run import BITRATE, DUPLEX, RAW, Run, Sender
from bench_parts.table import Grid
from browser import KEEP_CONNECTIONS, Chromium, ChromiumPage

#: On a good link before the weather comes, s: until a sender that adapts has found its bit rate.
BEFORE, QUICK_BEFORE = 8.0, 4.0


@dataclass(frozen=True)
class Case:
    """Weathers one after the other, each for so many seconds."""

    name: str
    weathers: tuple[tuple[float, Weather], ...]


def lasting(name: str, **weather: Any) -> Case:
    return Case(name, ((20.0, Weather(**weather)),))


CASES = (
    lasting("good link"),
    lasting("1 % lost", loss=0.01),
    lasting("3 % lost", loss=0.03),
    lasting("10 % lost", loss=0.10),
    lasting("3 % lost, 8 in a row", loss=0.03, burst=8),
    lasting("50 ms there and back", delay=0.05),
    lasting("150 ms, 2 % lost", delay=0.15, loss=0.02),
    lasting("300 ms there and back", delay=0.3),
    lasting("5 Mbit/s, 50 ms", rate=5000, delay=0.05),
    lasting("1 Mbit/s, 50 ms", rate=1000, delay=0.05),
    lasting("300 kbit/s, 50 ms", rate=300, delay=0.05),
    Case("5 Mbit/s, then 500 kbit/s, then 5", tuple((12.0, Weather(rate=rate, delay=0.05)) for rate in (5000, 500, 5000))),
)
QUICK_CASES = (
    Case("3 % lost", ((6.0, Weather(loss=0.03)),)),
    Case("3 Mbit/s, then 500 kbit/s, then 3", tuple((4.0, Weather(rate=rate, delay=0.05)) for rate in (3000, 500, 3000))),
)
#: Of all sizes of the picture together.
KEY_FRAMES = "duplex_key_frames_total"
# What the browser says of the picture and the sound that it takes.
STATS = """async () => {
  let best = {frames: -1};
  for (const connection of window.connections) {
    const all = [...(await connection.getStats()).values()].filter((one) => one.type === 'inbound-rtp');
    const video = all.find((one) => one.kind === 'video'), audio = all.find((one) => one.kind === 'audio');
    if (video && (video.framesDecoded ?? 0) > best.frames) best = {
      frames: video.framesDecoded ?? 0, freezes: video.freezeCount ?? 0, frozen: video.totalFreezesDuration ?? 0, width: video.frameWidth ?? 0,
      lost: video.packetsLost ?? 0, bytes: (video.bytesReceived ?? 0) + (audio?.bytesReceived ?? 0),
      concealed: (audio?.concealedSamples ?? 0) / 48, gaps: audio?.concealmentEvents ?? 0 };
  }
  return best;
}"""


class Watcher:
    """Chromium's picture behind a link."""

    def __init__(self, chromium: Chromium, url: str, producer: str | None):
        self.context, page = opened(chromium, producer, KEEP_CONNECTIONS)
        self.page = ChromiumPage(page)
        self.page.goto(url)
        self.page.wait("a picture", f"({STATS})().then((seen) => seen.frames > 10)", 30)

    def stats(self) -> dict[str, float]:
        return dict(self.page.evaluate(f"({STATS})()"))

    def close(self) -> None:
        self.context.close()


def weathered(watcher: Watcher, link: BadLink, case: Case) -> dict[str, float]:
    """What the viewer saw and heard while the weather lasted."""
    first, began = watcher.stats(), time.monotonic()
    seen = [(began, first)]
    for seconds, weather in case.weathers:
        link.weather = weather
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            seen.append((time.monotonic(), watcher.stats()))
    ended, last = seen[-1]
    took = ended - began
    # A freeze counts for Chromium when it is over.
    still = ended - next(at for at, one in seen if one["frames"] == last["frames"])
    change = {name: last[name] - first[name] for name in first}
    return {
        "freezes": change["freezes"], "frozen_s": change["frozen"] + (still if still > 2 else 0.0), "fps": change["frames"] / took,
        "concealed_ms": change["concealed"], "sound_gaps": change["gaps"], "lost": change["lost"], "kbits": change["bytes"] * 8 / 1000 / took,
        "width": sum(one["width"] for _, one in seen) / len(seen),
    }


def one_sender(run: Run, sender: Sender, chromium: Chromium, link: BadLink) -> dict[str, Any]:
    found = {}
    url = f"http://localhost:{link.port}/"
    with sender.watching(1) as other:
        for case in QUICK_CASES if run.quick else CASES:
            say(f"{sender.name}: {case.name}")
            link.weather = Weather()
            watcher = Watcher(chromium, url, None if sender.name == DUPLEX else sender.producer)
            try:
                time.sleep(QUICK_BEFORE if run.quick else BEFORE)
                found[case.name] = counted(run, sender, other, watcher, link, case)
            finally:
                watcher.close()
    return found


def counted(run: Run, sender: Sender, other: Receivers, watcher: Watcher, link: BadLink, case: Case) -> dict[str, Any]:
    other.reset()
    keys, began = run.metric(KEY_FRAMES), time.monotonic()
    figures: dict[str, Any] = weathered(watcher, link, case)
    figures["other"] = together(other.report(), time.monotonic() - began)
    # A stock sender tells of none.
    return {**figures, "key_frames": run.metric(KEY_FRAMES) - keys} if sender.name == DUPLEX else figures


def measure(run: Run) -> None:
    """The part ``impairment``."""
    if reason := why_not():
        say(f"without impairment: {reason}")
        return
    link = BadLink("bench", run.device.port)
    found = {}
    try:
        with tempfile.TemporaryDirectory() as folder, Chromium(Path(folder), None, space=link.space) as chromium:
            found[DUPLEX] = one_sender(run, run.duplex(), chromium, link)
            with run.stock(RAW, str(BITRATE)) as sender:
                found[RAW] = one_sender(run, sender, chromium, link)
    finally:
        link.close()
    run.result["impairment"] = found


def rows(found: dict[str, Any]) -> Grid:
    grid = Grid("A viewer on a bad link", f"{DUPLEX} / {RAW}", (
        "picture stands still, s", "pictures a second", "sound made up, ms", "gaps in the sound", "picture's width", "gets, kbit/s",
        "the other viewer: pictures a second", "its longest gap, ms", "it gets, kbit/s", f"key frames of {DUPLEX}"))
    for case in found[DUPLEX]:
        both = [found[who][case] for who in (DUPLEX, RAW)]
        own = [[one[what] for one in both] for what in ("frozen_s", "fps", "concealed_ms", "sound_gaps", "width", "kbits")]
        others = [[one["other"][what] for one in both] for what in ("fps_least", "gap_ms", "kbits")]
        grid.add(case, [*own, *others, [both[0]["key_frames"]]], (1, 1, 0, 0, 0, 0, 1, 0, 0, 0))
    return grid
