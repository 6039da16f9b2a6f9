"""The figure that the page shows for the time from capture to screen: it is there, and it is of what is really shown."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Callable

from browser import KEEP_CONNECTIONS, Chromium, ChromiumPage
from device import Device, wait_for
from peer import Peer, bearer, call, code, new_token, set_password
from test_monitoring import metrics

#: What the browser is made to wait, ms: far more than a busy test machine adds by itself.
HELD_BACK = 1500
HOLD_BACK = f"connections.flatMap((one) => one.getReceivers()).forEach((one) => (one.jitterBufferTarget = {HELD_BACK}))"


def figure(page: ChromiumPage) -> float | None:
    text = page.evaluate("document.querySelector('[data-stat=latency]').textContent")
    number, _, unit = text.partition(" ")
    return float(number) if unit == "ms" else None


def settled(page: ChromiumPage) -> float:
    """Median of what is shown over three seconds."""
    seen: list[float] = []
    def sample() -> bool:
        time.sleep(0.5)
        seen.extend([value for value in [figure(page)] if value is not None])
        return len(seen) >= 6
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


def test_the_service_is_told_and_tells_it_on(device: Callable[..., Device], tmp_path: Path) -> None:
    """What the page measures stands in the metrics and in the list of sessions, and follows what is shown."""
    one = device()
    gauge = 'duplex_session_capture_to_screen_seconds{slot="0"}'
    count = "duplex_capture_to_screen_seconds_count"
    assert gauge not in metrics(one) and metrics(one)[count] == 0
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        first = wait_for("the first figure", lambda: metrics(one).get(gauge), 40)
        page.click("#stats-toggle")
        usual = settled(page)
        (session,) = json.loads(call(one, "GET", "/api/v1/sessions")[2])["sessions"]
        listed = one.command("sessions").stdout
        assert f"capture to screen {session['captureToScreenMs']} ms" in listed, listed
        page.evaluate(HOLD_BACK)
        later = wait_for("a figure of the picture that is held back", lambda: (now := metrics(one))[gauge] > (usual + HELD_BACK / 2) / 1000 and now, 60)
        held = settled(page)
        print(f"told: {first * 1000:.0f} ms, then {later[gauge] * 1000:.0f} ms; on the page: {usual:.0f} ms, then {held:.0f} ms")
        assert first < HELD_BACK / 2000 and later[gauge] < (2 * HELD_BACK + usual) / 1000
        assert later[count] >= 2 and later["duplex_capture_to_screen_seconds_sum"] > later[gauge]
        assert page.faults == []


def test_a_figure_that_cannot_be_is_refused_and_changes_nothing(device: Callable[..., Device]) -> None:
    one = device()
    set_password(one)
    token = new_token(one, "watch")
    tell = lambda body, headers: code(call(one, "POST", "/api/v1/latency", body, headers=headers))  # noqa: E731
    with Peer(one, bearer(token)) as peer:
        good = {"peer": peer.id, "captureToScreenMs": 80}
        assert tell(good, {"Origin": one.url.rstrip("/")}) == (401, "notSignedIn")
        assert tell(good, {**bearer(token), "Origin": "https://evil.example"}) == (403, "wrongOrigin")
        assert tell(good, bearer(new_token(one, "metrics"))) == (403, "notAllowed")
        assert tell(good, bearer(new_token(one, "watch"))) == (404, "unknownPeer"), "another's peer"
        # Under way when the session ended: no error for the browser to write down, and nothing to count.
        assert call(one, "POST", "/api/v1/latency", good, headers=bearer(token))[0] == 204
        peer.watch(peer.device_id())
        for wrong in (-1, 80.5, "80", None, [], 1e300):
            assert tell({**good, "captureToScreenMs": wrong}, bearer(token)) == (400, "badRequest"), wrong
        assert tell({**good, "more": 1}, bearer(token)) == (400, "badRequest")
        assert tell({**good, "captureToScreenMs": 60_001}, bearer(token)) == (422, "badLatency")
        scrape = bearer(new_token(one, "metrics"))
        assert metrics(one, scrape)["duplex_capture_to_screen_seconds_count"] == 0
        assert call(one, "POST", "/api/v1/latency", good, headers=bearer(token))[0] == 204
        again = call(one, "POST", "/api/v1/latency", {**good, "captureToScreenMs": 9000}, headers=bearer(token))
        assert code(again) == (429, "tooOften") and 1 <= int(again[1]["retry-after"]) <= 10
        now = metrics(one, scrape)
        assert (now["duplex_capture_to_screen_seconds_count"], now['duplex_session_capture_to_screen_seconds{slot="0"}']) == (1, 0.08)
