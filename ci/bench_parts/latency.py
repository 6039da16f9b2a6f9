"""Time from capture to screen in Chromium, by the figure that the page shows.

In: the device's page, told which producer to watch. Out: milliseconds, one reading a second, of several calls. Never: a reading before the
figure has settled.

The page reckons it from the sender's reports, which put a time beside each picture, whoever sends. It is the same for both: the clip's pictures
are captured when they are due, by the same source, and the reports tell when that was. Stock's would tell when a picture is sent (rtpsession's
``rtcp-sync-send-time``), but what that adds is the latency which the viewer's pipeline is set to, and nothing in it waits for a clock: it is 0.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_parts.joins import opened
from bench_parts.processes import say
from bench_parts.run import BITRATE, DUPLEX, RAW, Run
from bench_parts.table import Section
from browser import Chromium, ChromiumPage
from device import wait_for

#: Calls, readings in each, and how long after the first figure they begin, s: the browser's buffer for the picture shrinks at first.
CALLS, READINGS, SETTLE = 3, 10, 10.0
QUICK_CALLS, QUICK_READINGS, QUICK_SETTLE = 1, 6, 3.0
#: The page shows a new figure so often, s.
EVERY = 1.0


def shown(page: ChromiumPage) -> float | None:
    """What the page shows now, ms."""
    number, _, unit = page.evaluate("document.querySelector('[data-stat=latency]').textContent").partition(" ")
    return float(number) if unit == "ms" else None


def call(chromium: Chromium, url: str, producer: str | None, count: int, settle: float) -> list[float]:
    """So many readings of one call."""
    context, tab = opened(chromium, producer, "")
    page = ChromiumPage(tab)
    page.goto(url)
    page.wait_data(state="live")
    page.click("#stats-toggle")
    # The browser needs two of the sender's reports; a stock sender makes one every five seconds or so.
    wait_for("a figure of the time from capture to screen", lambda: shown(page) is not None, 40)
    time.sleep(settle)
    found: list[float] = []
    while len(found) < count:
        time.sleep(EVERY)
        figure = shown(page)
        assert figure is not None, "the page shows no figure any more"
        found.append(figure)
    context.close()
    return found


def readings(chromium: Chromium, run: Run, producer: str | None) -> list[float]:
    """Those of all calls."""
    calls, count, settle = (QUICK_CALLS, QUICK_READINGS, QUICK_SETTLE) if run.quick else (CALLS, READINGS, SETTLE)
    return [figure for _ in range(calls) for figure in call(chromium, run.device.url, producer, count, settle)]


def measure(run: Run) -> None:
    """The part ``latency``."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Chromium(Path(folder), None) as chromium:
        say(f"{DUPLEX}: capture to screen")
        found[DUPLEX] = readings(chromium, run, None)
        with run.stock(RAW, str(BITRATE)) as sender:
            say(f"{RAW}: capture to screen")
            found[RAW] = readings(chromium, run, sender.producer)
    run.result["latency_ms"] = found


def rows(found: dict[str, Any]) -> Section:
    section = Section("Capture to screen in Chromium")
    for how, of in (("median", statistics.median), ("max", max)):
        section.add(f"{how} of {len(found[DUPLEX])} readings, ms", {who: of(figures) for who, figures in found.items()}, 0)
    return section
