"""Who gets in: passwords, first setup, sign-out, attempts in a row, and pages of other origins."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable

import pytest

from browser import Chromium, ChromiumPage
from device import Device, wait_for
from foreign import assert_refused, foreign_site

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
PASSWORD = "a horse, a battery"


def with_password(device: Start) -> Device:
    """A device whose owner has a password."""
    one = device()
    done = one.command("passwd", text=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    one.restart()
    return one


def submit(page: ChromiumPage, password: str) -> None:
    """Types the password and presses the button."""
    page.page.fill("#password", password)
    page.click("#sign-in")


def test_wrong_then_right_then_out(device: Start, tmp_path: Path) -> None:
    """A wrong password is refused in a sentence; the right one opens, over a reload; sign-out closes, and nothing is kept open."""
    one = with_password(device)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(view="sign-in")
        submit(page, "not the password")
        said = wait_for("a refusal", lambda: page.page.text_content("#sign-in-error"))
        assert "password" in said.lower()
        submit(page, PASSWORD)
        page.wait_data(view="call", state="live")
        (cookie,) = page.page.context.cookies()
        assert cookie["name"].startswith("__Host-") and cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        page.page.reload()
        page.wait_data(view="call", state="live")
        page.click("#settings-toggle")
        page.click("#sign-out")
        page.wait_data(view="sign-in")
        one.wait_for_log("viewer left")
        page.page.context.add_cookies([cookie])
        assert page.evaluate("fetch('/api/v1/status').then((answer) => answer.json())")["access"]["role"] is None
        page.page.reload()
        page.wait_data(view="sign-in")


def test_attempts_are_limited(device: Start, tmp_path: Path) -> None:
    """After some wrong passwords even the right one has to wait; the page says how long, counts, and lets nobody press in vain."""
    one = with_password(device)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(view="sign-in")
        said = ""
        for _ in range(8):
            submit(page, "guessing")
            said = wait_for("a refusal", lambda: page.page.text_content("#sign-in-error"))
            if "Too many" in said:
                break
            page.wait("the button again", "!document.getElementById('sign-in').disabled")

        def left() -> int:
            counted = re.fullmatch(r"Too many attempts\. Try again in (\d+) seconds?\.", page.page.text_content("#sign-in-error") or "")
            return int(counted[1]) if counted else 0

        first, began = left(), time.monotonic()
        assert first >= 2, said
        # What is typed meanwhile stays, and so does the word; neither button nor Enter sends it.
        page.page.fill("#password", PASSWORD)
        page.page.keyboard.press("Enter")
        assert page.evaluate("document.getElementById('sign-in').disabled") and left()
        wait_for("it counts", lambda: 0 < left() < first, 5)
        page.wait("the end of it", "document.getElementById('sign-in-error').textContent === 'You can try again now.'", 15)
        assert abs(time.monotonic() - began - first) < 2.5, "it counts seconds"
        page.click("#sign-in")
        page.wait_data(view="call", state="live")


# A page to whose window nobody turns, and one that asks nothing by itself.
DEAF = "addEventListener('focus', (event) => event.stopImmediatePropagation());"
PATIENT = "const later = setTimeout; window.setTimeout = (call, ms, ...more) => (ms === 10000 ? 0 : later(call, ms, ...more));"


def test_a_page_before_the_sign_in_goes_on_when_none_is_needed_any_more(device: Start, tmp_path: Path) -> None:
    """By itself, at a try to sign in, and when somebody turns to its window; what is typed meanwhile stays while one is needed."""
    one = with_password(device)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        waits, tries, looks = (chromium.open(one.url, script) for script in (DEAF, DEAF + PATIENT, PATIENT))
        for page in (waits, tries, looks):
            page.wait_data(view="sign-in")
        waits.page.fill("#password", "half a pass")
        asked: list[str] = []
        waits.page.on("response", lambda answer: asked.append(answer.url) if answer.url.endswith("/status") else None)
        wait_for("the page to ask twice by itself", lambda: waits.evaluate("1") and len(asked) >= 2, 25)
        assert waits.page.input_value("#password") == "half a pass" and waits.evaluate("document.activeElement.id") == "password"
        done = one.command("passwd", "--remove")
        assert done.returncode == 0, done.stderr
        waits.wait_data(14, view="call")
        assert [page.evaluate("app.dataset.view") for page in (tries, looks)] == ["sign-in"] * 2
        submit(tries, "whatever")
        tries.wait_data(view="call")
        looks.evaluate("dispatchEvent(new Event('focus'))")
        for page in (tries, looks, waits):
            page.wait_data(state="live")


def test_who_is_open_to_everybody_says_so(device: Start) -> None:
    """Without a password the terminal tells that everybody on this computer is the owner; with one it does not."""
    one = device()
    one.wait_for_log("^No password is set: everybody on this computer is the owner. Only this computer can connect.*duplex passwd", 5)
    assert one.command("passwd", text=PASSWORD + "\n").returncode == 0
    one.restart()
    assert "No password" not in one.log() and "is the owner" not in one.log()


def test_a_browser_that_nobody_knows_logs_no_errors(device: Start, tmp_path: Path) -> None:
    """Nothing is asked that can only be refused: at the first visit, after a sign-out, after a reload, and on the page on trust."""
    one = with_password(device)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = ChromiumPage(chromium.context().new_page())
        sockets: list[str] = []
        page.page.on("websocket", lambda socket: sockets.append(socket.url))
        page.goto(one.url)
        page.wait_data(view="sign-in")
        assert sockets == []
        submit(page, PASSWORD)
        page.wait_data(view="call", state="live")
        opened = len(sockets)
        page.click("#settings-toggle")
        page.click("#sign-out")
        page.wait_data(view="sign-in")
        page.page.reload()
        page.wait_data(view="sign-in")
        assert len(sockets) == opened > 0
        page.click("#sign-in-form a")
        page.wait("the page on trust", "document.querySelector('.fingerprint code') !== null")
        assert page.evaluate("document.querySelector('.brand img').naturalWidth > 0 && document.documentElement.scrollWidth <= innerWidth")
        assert page.faults == []


class OnTheNetwork(Device):
    """A device that listens on every network: then nobody is its owner just by being there."""

    def start(self) -> None:
        at = self.flags.index("--listen") + 1
        self.flags[at] = self.flags[at].replace("127.0.0.1", "0.0.0.0")
        super().start()


def test_first_setup(tmp_path: Path) -> None:
    """On a network the first visitor needs the code from the terminal; a wrong one and a short password are refused."""
    folder = tmp_path / "device"
    folder.mkdir()
    with OnTheNetwork(folder) as one, Chromium(tmp_path / "home", one.ca) as chromium:
        code = one.wait_for_log(r"setup code: (\S+)")[1]
        url = f"https://localhost:{one.port}/"
        page = chromium.open(url)
        page.wait_data(view="setup")

        def set_up(code: str, password: str) -> None:
            page.page.fill("#setup-code", code)
            page.page.fill("#new-password", password)
            page.click("#set-up")

        other = chromium.open(url)
        other.wait_data(view="setup")
        # Read from a card, which then goes back into the board: another start.
        one.restart()
        assert one.wait_for_log(r"setup code: (\S+)")[1] == code
        page.page.reload()
        page.wait_data(view="setup")
        set_up("WRONG-CODE", PASSWORD)
        wait_for("a refusal", lambda: page.page.text_content("#setup-error"))
        set_up(code, "short")
        page.wait_data(view="setup")
        # What was typed can be looked at; what is sent is a password again.
        page.page.fill("#new-password", PASSWORD)
        assert page.page.get_attribute("#new-password", "type") == "password"
        page.page.get_by_role("button", name="Show the password").click()
        assert page.page.get_attribute("#new-password", "type") == "text"
        page.page.keyboard.press("Space")
        assert page.page.get_attribute("#new-password", "type") == "password"
        page.page.keyboard.press("Space")
        assert page.page.get_attribute("#setup-form a", "href") == "/trust"
        set_up(code, PASSWORD)
        page.wait_data(view="call", state="live")
        assert page.page.get_attribute("#new-password", "type") == "password"
        # Whoever else stood there with the code signs in now.
        other.evaluate("dispatchEvent(new Event('focus'))")
        other.wait_data(view="sign-in")
        assert "has a password from now on" in other.page.text_content("#sign-in-error")
        submit(other, PASSWORD)
        other.wait_data(view="call", state="live")


def test_foreign_origin(device: Start, tmp_path: Path) -> None:
    """A page from elsewhere, opened in the very browser that is signed in, gets nothing; neither by API, nor by WebSocket, nor in a frame."""
    one = device()
    plain = device("--plain=true")
    with foreign_site() as elsewhere, Chromium(tmp_path / "home", one.ca) as chromium:
        for target in (one, plain):
            page = chromium.live(target.url)
            stranger = ChromiumPage(page.page.context.new_page())
            stranger.goto(elsewhere)
            assert_refused(stranger, target)
            status = page.evaluate("document.getElementById('app').dataset.talk")
            assert status == "idle"
            frames = [frame for frame in stranger.page.frames if frame.url.startswith(target.url)]
            assert all(not frame.query_selector("#app") for frame in frames), "the page lets itself be framed"


def test_other_host_names_are_refused(device: Start) -> None:
    """A name that is not the device's (DNS rebinding) gets a sentence, not the page."""
    one = device("--plain=true")
    request = urllib.request.Request(one.url, headers={"Host": "attacker.example"})
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as refused:
        assert refused.code == 421 and b"attacker.example" in refused.read()
    else:
        raise AssertionError("the page was served under a foreign name")
