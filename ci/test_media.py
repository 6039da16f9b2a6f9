"""Snapshots without a viewer, and what is announced from the page."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from browser import Chromium
from device import Device, wait_for
from peer import bearer, call, code, new_token, set_password
from test_sources import HALVES, write_image

pytestmark = pytest.mark.beside

Start = Callable[..., Device]


def pixels(jpeg: bytes) -> np.ndarray:
    """The picture, 16 x 9, red, green, blue; fails if it is none."""
    words = ["ffmpeg", "-v", "error", "-f", "mjpeg", "-i", "-", "-vf", "scale=16:9", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    done = subprocess.run(words, input=jpeg, capture_output=True, timeout=30, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(9, 16, 3).astype(float)


def test_a_snapshot_without_a_viewer(device: Start, tmp_path: Path) -> None:
    """Capture starts for it and ends after it; the picture is the one that viewers would see; who may watch gets it, nobody else."""
    one = device("--video", f"image:{write_image(tmp_path / 'still.png')}", "--audio", "silence", "--idle-grace", "0")
    one.wait_for_log("the device can be called")
    began = time.monotonic()
    status, headers, jpeg = call(one, "GET", "/api/v1/snapshot.jpg")
    took = time.monotonic() - began
    print(f"snapshot of {len(jpeg)} bytes after {took:.2f} s")
    assert status == 200 and headers["content-type"] == "image/jpeg" and headers["cache-control"] == "no-store", jpeg[:200]
    shown = pixels(jpeg)
    assert np.abs(shown[4, 3] - np.array(HALVES[0])).max() < 30 and np.abs(shown[4, 12] - np.array(HALVES[1])).max() < 30
    one.wait_for_log("capture and encoder stop")
    set_password(one)
    assert code(call(one, "GET", "/api/v1/snapshot.jpg")) == (401, "notSignedIn")
    assert code(call(one, "GET", "/api/v1/snapshot.jpg", headers=bearer(new_token(one, "produce")))) == (403, "notAllowed")
    assert call(one, "GET", "/api/v1/snapshot.jpg", headers=bearer(new_token(one, "watch")))[0] == 200


def test_the_still_for_the_page_that_opens(device: Start, tmp_path: Path) -> None:
    """Small, of the same picture; who may not watch, and a device without a picture, get nothing and no refusal that a browser would log."""
    one = device("--video", f"image:{write_image(tmp_path / 'still.png')}", "--audio", "silence")
    one.wait_for_log("the device can be called")
    # Who opens the page waits two seconds for it at most; capture may take longer to start here.
    wait_for("a still", lambda: call(one, "GET", "/api/v1/still.jpg")[0] == 200)
    status, headers, jpeg = call(one, "GET", "/api/v1/still.jpg")
    assert status == 200 and headers["content-type"] == "image/jpeg" and headers["cache-control"] == "no-store"
    print(f"a still of {len(jpeg)} bytes")
    words = ["ffprobe", "-v", "error", "-f", "mjpeg", "-i", "-", "-show_entries", "stream=width,height", "-of", "csv=p=0"]
    assert subprocess.run(words, input=jpeg, capture_output=True, timeout=30, check=True).stdout.decode().strip() == "480,270"
    assert np.abs(pixels(jpeg)[4, 3] - np.array(HALVES[0])).max() < 30
    set_password(one)
    assert call(one, "GET", "/api/v1/still.jpg")[::2] == (204, b"")
    assert call(one, "GET", "/api/v1/still.jpg", headers=bearer(new_token(one, "watch")))[0] == 200


def test_many_snapshots_at_once_are_one(device: Start) -> None:
    """Twelve requests at the same time start capture once and get the same picture; half a second later there is another one."""
    one = device("--idle-grace", "0")
    one.wait_for_log("the device can be called")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: call(one, "GET", "/api/v1/snapshot.jpg"), range(12)))
    assert {status for status, *_ in answers} == {200}
    assert len({jpeg for *_, jpeg in answers}) == 1
    wait_for("another picture", lambda: call(one, "GET", "/api/v1/snapshot.jpg")[2] != answers[0][2], 10)


def test_a_snapshot_of_a_camera_that_is_not_there(device: Start) -> None:
    """The answer says what is the matter, with a time to try again."""
    one = device("--video", "camera:/dev/video99")
    status, headers, body = call(one, "GET", "/api/v1/snapshot.jpg")
    sentence = json.loads(body)["error"]["message"]
    assert status == 503 and "/dev/video99" in sentence and headers["retry-after"] == "2", sentence


def test_text_and_clips_from_the_page(device: Start, tmp_path: Path) -> None:
    """What is typed is spoken, a clip of the folder is played; both are heard by who watches, and refused when they cannot be."""
    clips = tmp_path / "clips"
    clips.mkdir()
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=2000:duration=6", str(clips / "gong.wav")], check=True, timeout=30)
    (clips / "noise.wav").write_bytes(b"no sound at all" * 100)
    one = device("--clips", str(clips), "--audio", "silence", "--idle-grace", "0")
    one.wait_for_log("the device can be called")
    assert json.loads(call(one, "GET", "/api/v1/clips")[2]) == ["gong.wav", "noise.wav"]
    nobody = call(one, "POST", "/api/v1/clips/play", {"name": "gong.wav"})
    assert code(nobody) == (409, "notDone") and "nobody is listening" in json.loads(nobody[2])["error"]["message"]
    for name in ("../gong.wav", "/etc/passwd", "", "missing.wav"):
        assert code(call(one, "POST", "/api/v1/clips/play", {"name": name})) == (404, "notFound"), name
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#settings-toggle")
        page.wait("the clips", "document.getElementById('clip').options.length === 2")
        page.sound()  # a first look, which takes a busy browser seconds
        page.page.select_option("#clip", "gong.wav")
        page.click("#clip-play")
        page.wait_tone(2000)
        page.wait("the answer", "document.getElementById('announce-note').textContent === 'It is being played.'")
        time.sleep(1.1)  # announcements have a second between them
        wait_for("silence again", lambda: page.sound()[1] < -60, 15)
        page.page.fill("#announce-text", "Good morning to everybody who is listening here")
        page.click("#announce button[type=submit]")
        page.wait("the answer", "document.getElementById('announce-note').textContent === 'It is being said.'")
        wait_for("a voice", lambda: page.sound()[1] > -45, 15)
        assert page.evaluate("document.getElementById('announce-text').value") == ""
        time.sleep(1.1)
        page.page.select_option("#clip", "noise.wav")
        page.click("#clip-play")
        said = page.wait("the reason", "document.getElementById('announce-note').textContent")
        # By the file's name; where it is kept is for the log.
        assert "cannot play noise.wav: " in said and "/" not in said, said
        one.wait_for_log(r"WARN.*cannot be played.*/noise\.wav")
        # What plays is ended by whoever wants it to end: here the page, what the command line began.
        long = tmp_path / "long.wav"
        subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=2000:duration=120", str(long)], check=True, timeout=30)
        def stop_here() -> None:
            assert one.command("play", "--stop").stdout == "stopped long.wav\n"

        for stop in (lambda: page.click("#announce-stop"), stop_here):
            assert one.command("play", str(long)).returncode == 0
            page.wait_tone(2000)
            stop()
            wait_for("silence", lambda: page.sound()[1] < -60, 15)
        assert one.command("play", "--stop").stdout == "nothing was being played or said\n"
        assert page.faults == [] or all("409" in fault for fault in page.faults), page.faults
    status, _, body = call(one, "POST", "/api/v1/say", {"text": "x" * 1001})
    assert status == 409 and "1001" in json.loads(body)["error"]["message"]
