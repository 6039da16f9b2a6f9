"""One talker at a time: two people in two browsers, the line, the owner who takes over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

import pytest

from browser import Chromium, ChromiumPage
from device import Device, wait_for
from peer import Peer, bearer, new_token, set_password

pytestmark = pytest.mark.beside

Start = Callable[..., Device]


def sign_in(page: ChromiumPage, password: str) -> None:
    """Signs in by the form."""
    page.wait_data(view="sign-in")
    page.page.fill("#password", password)
    page.click("#sign-in")
    page.wait_data(view="call", state="live")


#: Counts the page's own tones, and keeps what it asks of the phone's motor.
SIGNS = """
window.tones = 0, window.shaken = [];
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...given) { window.tones += 1; return start.apply(this, given); };
Object.defineProperty(navigator, "vibrate", { value: (pattern) => window.shaken.push(pattern) });
"""


def test_the_second_waits_and_gets_the_turn(device: Start, tmp_path: Path) -> None:
    """While one talks the other sees it, gets in line, may leave it, and gets the turn when it is free."""
    one = device("--sound", f"file:{tmp_path / 'heard.wav'}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first, second = chromium.open(one.url, SIGNS), chromium.open(one.url, SIGNS)
        for page in (first, second):
            page.wait_data(state="live", talk="idle")
        first.start_talk()
        second.wait_data(talk="busy")
        assert "someone is talking" in second.state_line()
        second.click("#talk")
        second.wait_data(talk="waiting")
        second.click("#talk")
        second.wait_data(talk="busy")
        second.click("#talk")
        second.wait_data(talk="waiting")
        wait_for("the first knows who waits", lambda: "One person waits for the turn." in first.state_line())
        # And the owner sees it of everybody, in the panel and in the terminal.
        first.click("#owner-toggle")
        does = "[...document.querySelectorAll('#people li')].map((one) => one.dataset.does).sort().join()"
        first.wait("one talks, one waits", f"{does} === 'talking,waiting to talk'")
        listed = one.command("sessions").stdout
        assert listed.count(" talks ") == 1 and listed.count(" waits to talk ") == 1 and "watches" not in listed, listed
        (name,) = re.findall(r"^\w+  (.*, owner) +talks ", listed, re.MULTILINE)
        status = one.command("status").stdout
        assert f"\nwatching       2\ntalking        {name}; 1 waits\n" in status, (status, listed)
        first.click("#owner-close")
        assert not second.page.is_visible("#called")
        first.click("#talk")
        second.wait_data(talk="talking")
        # Seen, told, heard and felt; of who began to talk without a wait nothing of it was wanted.
        seen = second.evaluate("[document.getElementById('called').checkVisibility(), document.getElementById('headline').textContent, document.title]")
        assert seen == [True, "You are on air", "On air · Duplex"]
        wait_for("the first's usual title", lambda: first.page.title() == "Duplex")
        second.wait("two tones", "tones === 2 && shaken.length === 1")
        assert first.evaluate("[tones, shaken.length]") == [0, 0]
        second.wait("the usual word again", "document.getElementById('headline').textContent === 'Talking'")
        assert not second.page.is_visible("#called")
        first.wait_data(talk="busy")
        second.end_talk()
        first.wait_data(talk="idle")


def test_the_turn_is_free_when_its_talker_is_gone(device: Start, tmp_path: Path) -> None:
    """A closed page gives the turn to the next in line."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first, second = chromium.live(one.url), chromium.live(one.url)
        first.start_talk()
        second.click("#talk")
        second.wait_data(talk="waiting")
        first.page.context.close()
        second.wait_data(talk="talking")


def test_the_owner_takes_over(device: Start, tmp_path: Path) -> None:
    """A talker cannot take the turn away; the owner can, and the talker is told; a viewer has no Talk at all."""
    one = device()
    for role in ("owner", "talker", "viewer"):
        done = one.command("passwd", "--role", role, text=f"the {role}'s password\n")
        assert done.returncode == 0, done.stderr
    one.restart()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        pages = {role: chromium.open(one.url) for role in ("owner", "talker", "viewer")}
        for role, page in pages.items():
            sign_in(page, f"the {role}'s password")
        owner, talker, viewer = pages["owner"], pages["talker"], pages["viewer"]
        assert not viewer.page.is_visible("#talk") and not viewer.page.is_visible("#camera")
        talker.start_talk()
        for page in (owner, viewer):
            page.wait_data(talk="busy")
        assert not viewer.page.is_visible("#take-over")
        owner.click("#take-over")
        owner.wait_data(talk="talking")
        talker.wait_data(talk="busy")
        assert "Your turn has ended" in talker.state_line()
        assert not talker.page.is_visible("#take-over")


def test_a_press_right_after_anothers_turn_counts(device: Start, tmp_path: Path) -> None:
    """Whoever's turn once ended at its limit, and asks in the moment in which another's ends, gets the turn."""
    one = device("--talk-limit", "2", "--sound", "discard")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first, second = chromium.open(one.url), chromium.open(one.url)
        for page in (first, second):
            page.wait_data(state="live", talk="idle")
        for _ in range(3):
            first.start_talk()
            wait_for("the limit", lambda: "time limit" in first.state_line(), 10)
            second.start_talk()
            first.wait_data(talk="busy")
            second.click("#talk")
            first.click("#talk")
            first.wait_data(talk="talking")
            wait_for("the limit again", lambda: "time limit" in first.state_line(), 10)


def test_who_never_answers_loses_the_turn_to_the_next(device: Start) -> None:
    """A talker that registers and then says nothing: its negotiation has a deadline, and the line goes on."""
    one = device("--negotiation-timeout", "2")
    set_password(one)
    with Peer(one, bearer(new_token(one, "talk"))) as mute, Peer(one, bearer(new_token(one, "talk"))) as next_one:
        mute.send(type="setPeerStatus", roles=["producer"], meta=None)
        session = mute.expect("startSession")["sessionId"]
        next_one.send(type="setPeerStatus", roles=["producer"], meta=None)
        mute.expect("endSession", lambda message: message["sessionId"] == session, 30)
        next_one.expect("startSession", seconds=30)
