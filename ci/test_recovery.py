"""The page finds the device again: after a reload, a restart of the service, a power cut, without a hand on it."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from browser import Chromium, Page
from device import Device, wait_for

pytestmark = pytest.mark.beside

Start = Callable[..., Device]


def test_reload(device: Start, tmp_path: Path) -> None:
    """A reloaded page is live again, and the device does not count its ghost."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(state="live", sound="on")
        for _ in range(3):
            page.page.reload()
            page.wait_data(state="live", sound="on")
        page.wait_frame()
        page.wait_tone(440)
        other = chromium.live(one.url)
        wait_for("two viewers", lambda: "2" in other.evaluate("document.getElementById('viewers').textContent"), 10)


def back_again(page: Page) -> None:
    """Live with a moving picture and sound."""
    page.wait_data(30, state="live")
    page.wait_frame()
    page.wait_tone(440)


def test_service_restarts(device: Start, tmp_path: Path) -> None:
    """The page comes back by itself after a restart, can talk again, and says meanwhile that it waits."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.start_talk()
        port = one.port
        one.stop()
        page.wait_data(10, state="reconnecting", talk="idle")
        one.flags[one.flags.index("--listen") + 1] = f"127.0.0.1:{port}"
        one.start()
        back_again(page)
        page.start_talk()
        page.end_talk()


def test_power_cut(device: Start, tmp_path: Path) -> None:
    """The same when the service had no time to say farewell."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        port = one.port
        one.kill()
        page.wait_data(10, state="reconnecting")
        one.flags[one.flags.index("--listen") + 1] = f"127.0.0.1:{port}"
        one.start()
        back_again(page)


def test_network_gone_for_a_while(device: Start, tmp_path: Path) -> None:
    """An offline browser says so and is back with the network."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        context = page.page.context
        context.set_offline(True)
        one.stop()
        page.wait_data(15, state="reconnecting")
        assert "offline" in page.state_line()
        one.restart()
        context.set_offline(False)
        back_again(page)
