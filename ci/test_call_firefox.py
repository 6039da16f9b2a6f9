"""A call in Firefox, which trusts the CA as a person's does: picture, sound, talking, camera, and a restart of the service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import pytest

from browser import Chromium, strongest_hz, write_tone
from device import Device, wait_for
from firefox import Firefox
from foreign import assert_refused, foreign_site
from peer import set_password
from test_call_chromium import ffprobe, wait_corner

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
FAKE_HZ = 1000.0
OTHER_HZ = 600.0
#: The key, as WebDriver names it.
ENTER = "\ue007"


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


def test_reload(device: Start, tmp_path: Path) -> None:
    """A reload in mid-talk ends turn and session, and the call comes back by itself, once."""
    one = device()
    with Firefox(tmp_path / "firefox", one.ca) as firefox:
        page = firefox.open(one.url)
        page.wait_data(30, state="live")
        page.start_talk()
        page.reload()
        one.wait_for_log("turn ends")
        one.wait_for_log("viewer left")
        page.wait_data(30, state="live", talk="idle", sound="on")
        page.wait_frame()
        page.wait_tone(440)
        page.start_talk()
        page.end_talk()
        assert one.log().count("viewer connected") == 2


def test_wrong_then_right_password(device: Start, tmp_path: Path) -> None:
    """A wrong password is refused in a sentence; the right one opens, over a reload; sign-out closes."""
    one = device()
    password = set_password(one)
    with Firefox(tmp_path / "firefox", one.ca) as firefox:
        page = firefox.open(one.url)
        page.wait_data(30, view="sign-in")
        page.click("#password")
        page.type("not the password" + ENTER)
        said = page.wait("a refusal", "document.getElementById('sign-in-error').textContent")
        assert "password" in said.lower() and page.evaluate("app.dataset.view") == "sign-in"
        page.evaluate("document.getElementById('password').select()")
        page.type(password)
        page.click("#sign-in")
        page.wait_data(30, view="call", state="live")
        page.wait_frame()
        page.reload()
        page.wait_data(30, view="call", state="live")
        page.click("#settings-toggle")
        page.click("#sign-out")
        page.wait_data(view="sign-in")
        page.reload()
        page.wait_data(view="sign-in")


def test_one_turn_for_both_browsers(device: Start, tmp_path: Path) -> None:
    """Chromium talks, Firefox waits and has the turn after it: what the device hears is first the one's microphone, then the other's."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}")

    def hears(hz: float) -> None:
        wait_for(f"{hz} Hz in the device", lambda: (found := strongest_hz(heard, 0.5)) and abs(found - hz) < 15, 20)

    voice = write_tone(tmp_path / "voice.wav", OTHER_HZ)
    with Chromium(tmp_path / "chromium", one.ca, microphone=voice) as chromium, Firefox(tmp_path / "firefox", one.ca) as firefox:
        first, second = chromium.live(one.url), firefox.open(one.url)
        second.wait_data(30, state="live", talk="idle")
        first.start_talk()
        hears(OTHER_HZ)
        second.wait_data(talk="busy")
        second.click("#talk")
        second.wait_data(talk="waiting")
        wait_for("its place in line", lambda: "You are next" in second.state_line())
        wait_for("the talker knows who waits", lambda: "One person waits for the turn." in first.state_line())
        hears(OTHER_HZ)
        first.click("#talk")
        second.wait_data(talk="talking")
        first.wait_data(talk="busy")
        hears(FAKE_HZ)
        # The owner takes it back.
        first.click("#take-over")
        first.wait_data(talk="talking")
        second.wait_data(talk="busy")
        wait_for("why", lambda: "Your turn has ended" in second.state_line())
        hears(OTHER_HZ)
        first.end_talk()
        second.wait_data(talk="idle")


def test_a_page_from_elsewhere_gets_nothing(device: Start, tmp_path: Path) -> None:
    """In the very browser that is signed in: neither by API, nor by WebSocket, nor in a frame; and the call beside it goes on."""
    one = device()
    password = set_password(one)
    with foreign_site() as elsewhere, Firefox(tmp_path / "firefox", one.ca) as firefox:
        page = firefox.open(one.url)
        page.wait_data(30, view="sign-in")
        page.click("#password")
        page.type(password + ENTER)
        page.wait_data(30, view="call", state="live")
        assert_refused(firefox.open(elsewhere), one)
        page.wait_frame()
        page.wait_data(talk="idle", state="live")


def test_without_the_ca_there_is_no_page(device: Start, tmp_path: Path) -> None:
    """The other tests prove something: a Firefox that does not trust the CA does not open the page."""
    one = device()
    with Firefox(tmp_path / "firefox", None) as firefox:
        with pytest.raises(AssertionError, match="(?i)certificate|SEC_ERROR|insecure|neterror"):
            firefox.open(one.url)
