"""The figure that the page shows for the time from capture to screen: it is there, and it is of what is really shown."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Callable

from browser import KEEP_CONNECTIONS, Chromium, ChromiumPage
from device import Device, wait_for

#: What the browser is made to wait, ms: far more than a busy test machine adds by itself.
HELD_BACK = 1500
HOLD_BACK = f"connections.flatMap((one) => one.getReceivers()).forEach((one) => (one.jitterBufferTarget = {HELD_BACK}))"


def figure(page: ChromiumPage) -> float | None:
    text = page.evaluate("document.querySelector('[data-stat=latency]').textContent")
    number, _, unit = text.partition(" ")
    return float(number) if unit == "ms" else None


def settled(page: ChromiumPage) -> float:
    """Median of what is shown over five seconds."""
    seen: list[float] = []
    def sample() -> bool:
        time.sleep(0.5)
        seen.extend([value for value in [figure(page)] if value is not None])
        return len(seen) >= 10
    wait_for("figures", sample, 40)
    return statistics.median(seen)


def test_capture_to_screen_is_told_and_follows_what_is_shown(device: Callable[..., Device], tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        page.click("#stats-toggle")
        usual = settled(page)
        page.evaluate(HOLD_BACK)
        wait_for("a browser that holds the picture back", lambda: (figure(page) or 0) > usual + HELD_BACK / 2, 30)
        held = settled(page)
        print(f"capture to screen: {usual:.0f} ms; with a jitter buffer of {HELD_BACK} ms: {held:.0f} ms")
        assert usual < HELD_BACK / 2 < held < 2 * HELD_BACK + usual
