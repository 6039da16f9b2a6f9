"""A call in Firefox, which trusts the CA as a person's does: picture, sound, talking, camera, and a restart of the service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import pytest

from browser import strongest_hz
from device import Device, wait_for
from firefox import Firefox
from test_call_chromium import ffprobe, wait_corner

Start = Callable[..., Device]
FAKE_HZ = 1000.0


def test_call(device: Start, tmp_path: Path) -> None:
    """Both directions of a call: frame counter, tone, microphone, camera in overlay and recording; then a restart."""
    heard, folder = tmp_path / "heard.wav", tmp_path / "recordings"
    one = device("--sound", f"file:{heard}", "--picture", f"overlay,record:{folder}")
    with Firefox(tmp_path / "firefox", one.ca) as firefox:
        page = firefox.open(one.url)
        page.wait_data(30, state="live", sound="on")
        page.wait_frame()
        first = wait_for("a frame with a number", lambda: n if (n := page.frame()) and n > 0 else None)
        wait_for("the counter 20 frames on", lambda: (page.frame() or 0) >= first + 20, 10)
        page.wait_tone(440)
        background = page.colour(0.02, 0.5, 0.05, 0.05)
        wait_corner(page, False, background)

        # Firefox's fake microphone is a steady tone, which its noise suppression wears down: pitch counts, not level.
        page.start_talk()
        wait_for("the microphone's tone", lambda: (hz := strongest_hz(heard, 0.5)) and abs(hz - FAKE_HZ) < 15, 15)
        page.click("#camera")
        wait_corner(page, True, background)
        began = time.monotonic()
        wait_for("three seconds of camera", lambda: time.monotonic() - began > 3)
        page.end_talk()
        wait_corner(page, False, background)

        one.restart()
        page.wait_data(30, state="live")
        page.wait_frame()
        page.wait_tone(440)
    streams = [stream for file in folder.glob("*.mkv") for stream in ffprobe(file)]
    assert sum(int(one["nb_read_frames"]) for one in streams if one["codec_type"] == "video") > 25


def test_without_the_ca_there_is_no_page(device: Start, tmp_path: Path) -> None:
    """The other tests prove something: a Firefox that does not trust the CA does not open the page."""
    one = device()
    with Firefox(tmp_path / "firefox", None) as firefox:
        with pytest.raises(AssertionError, match="(?i)certificate|SEC_ERROR|insecure|neterror"):
            firefox.open(one.url)
