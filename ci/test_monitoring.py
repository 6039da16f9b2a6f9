"""What programs that watch over the service get: metrics that move with the call, and a health that can be trusted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from browser import Chromium
from device import Device, wait_for
from peer import bearer, call, code, new_token, set_password

pytestmark = pytest.mark.beside

Start = Callable[..., Device]


def metrics(device: Device, headers: dict[str, str] | None = None) -> dict[str, float]:
    """Every sample as ``name{label="value"}``; the parser fails on anything that is not OpenMetrics."""
    status, head, body = call(device, "GET", "/metrics", headers=headers)
    assert status == 200 and head["content-type"].startswith("application/openmetrics-text"), body
    samples: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            samples[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return samples


def work(device: Device) -> dict[str, float]:
    """How much was captured and encoded so far, of picture and sound, in every size."""
    counters = ("duplex_captured_buffers_total", "duplex_encoded_buffers_total", "duplex_encoded_bytes_total")
    return {name: value for name, value in metrics(device).items() if name.startswith(counters)}


def everything_rests(device: Device) -> None:
    """Waits until a span of two seconds goes by in which nothing is captured and nothing encoded."""

    def at_rest() -> bool:
        before = work(device)
        assert {'duplex_captured_buffers_total{media="picture"}', 'duplex_captured_buffers_total{media="sound"}',
                'duplex_encoded_buffers_total{media="sound",rung="0"}'} <= before.keys()
        time.sleep(2)
        return work(device) == before

    wait_for("capturing and encoding rest", at_rest, 15)


def health(device: Device) -> tuple[int, dict[str, object]]:
    status, _, body = call(device, "GET", "/healthz")
    return status, json.loads(body)


def test_metrics_move_with_a_viewer(device: Start, tmp_path: Path) -> None:
    one = device("--idle-grace", "1")
    before = metrics(one)
    assert before["duplex_viewers"] == 0 and before['duplex_encoded_buffers_total{media="picture",rung="0"}'] == 0
    assert before["process_resident_memory_bytes"] > 1e6 and before["duplex_session_join_seconds_count"] == 0
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_frame()
        first = metrics(one)
        assert first["duplex_viewers"] == 1 and first["duplex_viewers_connected"] == 1
        assert first["duplex_signalling_peers"] == 1 and first["duplex_session_join_seconds_count"] == 1
        assert 0 < first["duplex_session_join_seconds_sum"] < 15
        assert first["duplex_key_frames_total"] >= 1
        later = wait_for("30 more pictures", lambda: (now := metrics(one))['duplex_encoded_buffers_total{media="picture",rung="0"}'] > first['duplex_encoded_buffers_total{media="picture",rung="0"}'] + 30 and now)
        for name in ('duplex_captured_buffers_total{media="picture"}', 'duplex_encoded_buffers_total{media="sound",rung="0"}',
                     'duplex_encoded_bytes_total{media="picture",rung="0"}', 'duplex_session_sent_bytes_total{slot="0"}', "duplex_sent_packets_total"):
            assert later[name] > first[name] > 0, name
        # What is sent is what was encoded, in packets: a little more.
        sent, encoded = (later[name] - first[name] for name in ("duplex_sent_bytes_total", 'duplex_encoded_bytes_total{media="picture",rung="0"}'))
        assert 0.8 * encoded < sent < 2 * encoded, (sent, encoded)
        second = chromium.open(one.url)
        second.wait_frame()
        assert metrics(one)['duplex_session_sent_bytes_total{slot="1"}'] > 0
    gone = wait_for("nobody watches", lambda: (now := metrics(one))["duplex_viewers"] == 0 and now)
    assert 'duplex_session_sent_bytes_total{slot="0"}' not in gone
    everything_rests(one)


def test_one_encode_serves_every_viewer(device: Start, tmp_path: Path) -> None:
    """A second and a third viewer add nothing to what is captured and encoded, for each picture and each bit of sound taken in."""
    one = device()

    def encoded_for_one_captured() -> dict[str, float]:
        """Buffers encoded, in whatever size, for each captured one, over a hundred pictures."""
        before = work(one)
        captured = {medium: f'duplex_captured_buffers_total{{media="{medium}"}}' for medium in ("picture", "sound")}
        enough = lambda now: all(now[name] >= before[name] + 100 for name in captured.values())  # noqa: E731
        after = wait_for("a hundred pictures", lambda: (now := work(one)) and enough(now) and now, 30)
        encoded = {medium: [name for name in after if name.startswith(f'duplex_encoded_buffers_total{{media="{medium}"')] for medium in captured}
        return {medium: sum(after[name] - before.get(name, 0) for name in encoded[medium]) / (after[name] - before[name]) for medium, name in captured.items()}

    with Chromium(tmp_path / "home", one.ca) as chromium:
        chromium.live(one.url).wait_frame()
        alone = encoded_for_one_captured()
        for _ in range(2):
            chromium.live(one.url).wait_frame()
        assert metrics(one)["duplex_viewers_connected"] == 3
        together = encoded_for_one_captured()
    print(f"encoded for one captured: {alone} with one viewer, {together} with three")
    for medium, share in together.items():
        # A second encode would double it; what is under way at either look is a few buffers.
        assert alone[medium] > 0.3 and share < 1.2 * alone[medium], (alone, together)


def test_who_may_read_the_metrics(device: Start) -> None:
    one = device()
    assert metrics(one)["duplex_viewers"] == 0, "whoever is on this computer is the owner"
    set_password(one)
    assert code(call(one, "GET", "/metrics")) == (401, "notSignedIn")
    assert code(call(one, "GET", "/metrics", headers=bearer(new_token(one, "watch", "talk", "produce", "consume-peer")))) == (403, "notAllowed")
    token = new_token(one, "metrics")
    assert metrics(one, bearer(token))['duplex_requests_refused_total{code="notAllowed"}'] == 1
    for path in ("/api/v1/device", "/api/v1/sessions", "/api/v1/log"):
        assert code(call(one, "GET", path, headers=bearer(token))) == (403, "notAllowed")
    for attempt in range(2):
        call(one, "POST", "/api/v1/sign-in", {"password": f"wrong {attempt}"}, headers={"Origin": one.url.rstrip("/")})
    assert metrics(one, bearer(token))['duplex_sign_in_refusals_total{code="wrongPassword"}'] == 2


class Hanging:
    """A source file that is a pipe: gives a few seconds of picture, then nothing, and does not end."""

    def __init__(self, path: Path, film: bytes):
        self.path, self.film = path, film
        self.over = threading.Event()
        path.unlink()
        os.mkfifo(path)
        self.thread = threading.Thread(target=self._give, daemon=True)
        self.thread.start()

    def _give(self) -> None:
        with self.path.open("wb") as pipe:
            pipe.write(self.film)
            pipe.flush()
            self.over.wait(300)

    def mend(self, film: Path) -> None:
        """From now on the path is an ordinary file again."""
        self.path.unlink()
        film.rename(self.path)
        self.over.set()


def film(path: Path, seconds: int) -> Path:
    words = ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=30:duration={seconds}", "-c:v", "libvpx", "-b:v", "800k", "-g", "30"]
    subprocess.run([*words, str(path)], check=True, timeout=120)
    return path


def test_health_is_red_while_no_picture_comes_and_green_again(device: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the watchdog of systemd rests on the same check: no beat comes while no picture does."""
    source = film(tmp_path / "source.mkv", 3)
    good = film(tmp_path / "good.mkv", 3)
    supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    supervisor.bind(str(tmp_path / "notify"))
    beats: list[bytes] = []

    def listen() -> None:
        while True:
            beats.append(supervisor.recv(64))

    threading.Thread(target=listen, daemon=True).start()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    one = device("--video", f"file:{source}", "--audio", "silence", "--idle-grace", "1")
    wait_for("READY and a beat", lambda: b"READY=1" in beats and beats[-1] == b"WATCHDOG=1")
    assert health(one) == (200, {"healthy": True, "problems": []})
    hanging = Hanging(source, source.read_bytes())
    assert health(one)[0] == 200, "nobody watches: nothing has to come"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait("a picture", "document.getElementById('picture').videoWidth > 0")
        assert health(one)[0] == 200
        red = wait_for("red", lambda: (now := health(one))[0] == 503 and now, 60)
        assert red[1] == {"healthy": False, "problems": ["The encoder gives no pictures."]}
        # Who has no sign-in learns nothing else, and an owner sees the same in the panel.
        assert json.loads(call(one, "GET", "/api/v1/device")[2])["problems"] == red[1]["problems"]
        one.wait_for_log("not telling the supervisor that all is well.*no pictures", 30)
        told, seen = len(beats), len(one.lines)
        one.wait_for_log("not telling the supervisor", 30, after=seen)
        assert len(beats) == told, "a beat came although nothing is well"
        hanging.mend(good)
        wait_for("green", lambda: health(one)[0] == 200, 60)
        wait_for("a beat", lambda: len(beats) > told, 60)
    assert wait_for("green without a viewer", lambda: health(one)[0] == 200)
