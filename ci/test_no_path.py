"""Media that cannot go the usual way although the page does."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from browser import KEEP_CONNECTIONS, Chromium
from device import Device, wait_for

Start = Callable[..., Device]
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
