"""Media that cannot go the usual way although the page does: another way, or what the person is told.

Where no way is left, the page and signalling travel by the loopback of a network namespace; media has only the link between that and
the device, which is cut.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest

from browser import KEEP_CONNECTIONS, Chromium, ChromiumPage
from device import Device, wait_for
from links import Link, why_not

Start = Callable[..., Device]
#: What somebody who cannot call is to look at.
ADVICE = ("subnet", "VPN", "firewall", "TURN")
#: Protocol of the path that media takes.
PROTOCOL = """(async () => {
  const report = await window.connections.at(-1).getStats();
  const all = [...report.values()];
  const transport = all.find((one) => one.type === "transport" && one.selectedCandidatePairId);
  const pair = transport && report.get(transport.selectedCandidatePairId);
  return pair ? report.get(pair.localCandidateId).protocol : null;
})()"""


def test_a_browser_that_may_not_use_udp_calls_over_tcp(device: Start, tmp_path: Path) -> None:
    """As some companies have it: no UDP. The device's candidates are of both kinds."""
    one = device()
    with Chromium(tmp_path / "home", one.ca, flags=("--webrtc-ip-handling-policy=disable_non_proxied_udp",)) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        page.wait_frame()
        page.wait_tone(440)
        assert wait_for("the path", lambda: page.evaluate(PROTOCOL)) == "tcp"


def wait_for_advice(page: ChromiumPage) -> str:
    """Waits for all of the advice where the picture would be; the sentence."""
    def said() -> str | None:
        words = page.page.inner_text("#veil")
        return words if all(word in words for word in ADVICE) else None

    try:
        words = wait_for("the advice in the picture's place", said, 40)
    except AssertionError as late:
        raise AssertionError(f"{late}; the page says {page.state_line()!r}") from None
    # In the state line, which a screen reader reads out, it stands as well.
    assert all(word in page.state_line() for word in ADVICE), page.state_line()
    return words


def test_a_path_that_swallows_media_and_then_does_not(device: Start, tmp_path: Path) -> None:
    """The page says what to look at, goes on trying, and the call comes as soon as it can."""
    if reason := why_not():
        pytest.skip(reason)
    one = device()
    link = Link("path", one.port)
    try:
        link.cut()
        with Chromium(tmp_path / "home", one.ca, space=link.space) as chromium:
            page = chromium.open(f"https://localhost:{link.port}/")
            print(wait_for_advice(page))
            assert not page.page.is_enabled("#talk")
            link.mend()
            page.wait_data(60, state="live")
            page.wait_frame()
            assert not any(word in page.state_line() for word in ADVICE)
    finally:
        link.close()
