"""What the page tells people: why there is no call, who is not heard, what a press does, who is who."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from browser import Chromium, ChromiumPage
from device import Device, wait_for
from peer import set_password
from test_media import pixels
from test_sources import HALVES, write_image

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
#: Keeps every text that ever stood in the element, from now on.
KEEP = """(id) => {
  const element = document.getElementById(id), texts = (window.kept ??= {})[id] = [element.textContent];
  new MutationObserver(() => texts.push(element.textContent)).observe(element, { childList: true, characterData: true, subtree: true });
}"""


def keep(page: ChromiumPage, id: str) -> Callable[[], list[str]]:
    page.page.evaluate(KEEP, id)
    return lambda: list(page.evaluate(f"kept['{id}']"))


def test_a_page_without_a_place_says_why_and_comes_by_itself(device: Start, tmp_path: Path) -> None:
    one = device("--max-viewers", "1")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first = chromium.live(one.url)
        second = chromium.open(one.url)
        second.wait_data(state="failed")
        wait_for("the reason", lambda: "as many viewers as it serves (1)" in second.state_line())
        first.page.context.close()
        second.wait_data(state="live")
        second.wait_frame()


def test_a_page_without_a_connection_says_why_and_comes_by_itself(device: Start, tmp_path: Path) -> None:
    one = device("--max-viewers", "1", "--max-peers", "1")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first = chromium.live(one.url)
        second = chromium.open(one.url)
        wait_for("the reason", lambda: "as many connections as it takes (1)" in second.state_line())
        first.page.context.close()
        second.wait_data(state="live")


# Holds the call up until the test wants it.
HELD = """
const went = new Promise((done) => (window.goOn = done)), answer = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = async function (...all) { await went; return answer.apply(this, all); };
"""


def test_the_device_is_in_sight_before_the_call_is_there(device: Start, tmp_path: Path) -> None:
    """A still of the moment, in colours that count, until the call's own picture; nobody who may not watch sees one."""
    one = device("--video", f"image:{write_image(tmp_path / 'still.png')}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        chromium.live(one.url)  # capture is at work: the page waits two seconds for a still at most
        page = chromium.open(one.url, HELD)
        page.wait("the still", "document.getElementById('still')?.naturalWidth === 480")
        assert page.evaluate("app.dataset.state") == "connecting"
        left, right = (np.asarray(HALVES[half], float) for half in (0, 1))
        seen = pixels(page.page.locator("#stage").screenshot(type="jpeg"))
        assert seen[3, 3].argmax() == left.argmax() and seen[3, 12].argmax() == right.argmax(), seen
        page.evaluate("goOn()")
        page.wait_data(state="live")
        page.wait("the still to go", "document.getElementById('still') === null")
    set_password(one)
    with Chromium(tmp_path / "stranger", one.ca) as chromium:
        said: list[str] = []
        stranger = chromium.open("about:blank")
        stranger.page.on("console", lambda line: said.append(line.text))
        stranger.goto(one.url)
        stranger.wait("the sign-in", "app.dataset.view === 'sign-in'")
        stranger.wait("no still", "document.getElementById('still') === null")
        assert not any("still" in line for line in said), said


def test_who_is_not_heard_and_only_while_somebody_talks(device: Start, tmp_path: Path) -> None:
    one = device("--sound", "speaker:none-of-this-name")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        talker, other = chromium.live(one.url), chromium.live(one.url)
        talker.start_talk()
        wait_for("the talker's warning", lambda: "You are not heard" in talker.state_line())
        wait_for("the other's warning", lambda: "The talker is not heard:" in other.state_line())
        talker.end_talk()
        other.wait_data(talk="idle")
        late = chromium.live(one.url)
        for page in (talker, other, late):
            wait_for("no warning", lambda page=page: page.state_line() == "Live")
            assert page.evaluate("document.getElementById('state').dataset.warn") == "false"


def test_a_missing_camera_is_told_in_words(device: Start, tmp_path: Path) -> None:
    """Those who watch read a sentence; what the configuration calls it stands in the log."""
    one = device("--video", "camera:none-of-this-name", "--audio", "microphone:hw:CARD=Nobody")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        both = 'No picture The camera "none-of-this-name" is not there. The microphone "hw:CARD=Nobody" is not there.'
        wait_for("both sentences", lambda: page.state_line() == both)
        one.wait_for_log("source failed.*camera:none-of-this-name")
        one.wait_for_log("source failed.*microphone:hw:CARD=Nobody")


def test_who_is_muted_is_told_and_told_again_when_he_is_heard(device: Start, tmp_path: Path) -> None:
    one = device("--sound", f"file:{tmp_path / 'talk.wav'}", "--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, color_scheme="dark")  # bar and stage have the same colours in it
        # What stands on the button, and the colours of the button and of the frame around the picture.
        signs = lambda: page.evaluate("""(() => {
          const colour = (id, part) => getComputedStyle(document.getElementById(id), part).borderTopColor;
          return [document.getElementById('talk-label').textContent, colour('talk'), colour('stage', '::after')];
        })()""")  # noqa: E731
        page.start_talk()
        wait_for("the word", lambda: "hears you" in page.state_line())
        on_air = wait_for("the button in its colour", lambda: (now := signs())[1] == now[2] and now)
        assert on_air[0] == "Talking"
        for command, words in ((("mute", "talk"), "muted talkers"), (("unmute", "talk"), "hears you"), (("volume", "talk", "0"), "muted talkers"),
                               (("sound", "set", "discard"), "plays no sound")):
            assert one.command(*command).returncode == 0
            wait_for(words, lambda words=words: words in page.state_line())
            told = wait_for("button and frame in one colour", lambda: (now := signs())[1] == now[2] and now)
            assert told == on_air if words == "hears you" else (told[0] == "Not heard" and told[1] != on_air[1]), told
            assert page.page.title() == ("On air · Duplex" if words == "hears you" else "Not heard · Duplex")
        page.click("#camera")
        wait_for("that he is seen", lambda: page.state_line() == "You are seen, but not heard This device plays no sound.")


def test_viewers_are_told_that_the_devices_own_sound_is_muted(device: Start, tmp_path: Path) -> None:
    """By mute and by volume 0, also who comes later; no longer once it is heard."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        assert page.state_line() == "Live"
        for on, off in ((("mute", "device"), ("unmute", "device")), (("volume", "device", "0"), ("volume", "device", "0.5"))):
            assert one.command(*on).returncode == 0
            wait_for("the word", lambda: page.state_line() == "Live The device's sound is muted.")
            late = chromium.live(one.url, viewport={"width": 740, "height": 360})
            wait_for("the word for who comes later", lambda late=late: late.state_line() == "Live The device's sound is muted.")
            assert late.evaluate("document.getElementById('detail').checkVisibility()"), "not seen on a phone on its side"
            assert one.command(*off).returncode == 0
            for each in (page, late):
                wait_for("no word", lambda each=each: each.state_line() == "Live")
            late.page.context.close()


def test_volume_and_mute_stay_where_the_source_is_silent(device: Start, tmp_path: Path) -> None:
    """Announcements are heard there all the same."""
    one = device("--audio", "silence")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        assert page.evaluate("['mute', 'volume'].every((id) => document.getElementById(id).checkVisibility())")


def test_who_takes_over_does_not_wait(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        owner, talker = chromium.live(one.url), chromium.live(one.url)
        talker.start_talk()
        owner.wait_data(talk="busy")
        labels = keep(owner, "talk-label")
        owner.click("#take-over")
        owner.wait_data(talk="talking")
        assert "Starting" in labels() and "Waiting" not in labels(), labels()


def test_what_is_too_long_to_say_is_not_cut_but_refused(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#settings-toggle")
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/say") else None)
        page.page.fill("#announce-text", "  ")
        page.click("#announce button[type=submit]")
        note = lambda: page.page.text_content("#announce-note")  # noqa: E731
        wait_for("what is missing", lambda: note() == "Type what is to be said.")
        page.page.fill("#announce-text", "")
        page.page.focus("#announce-text")
        page.page.keyboard.insert_text("x" * 1005)
        assert page.evaluate("document.getElementById('announce-text').value.length") == 1005
        assert "5 characters too long" in page.evaluate("document.getElementById('announce-room').textContent")
        page.click("#announce button[type=submit]")
        page.page.keyboard.press("Enter")
        page.page.focus("#announce-text")
        for _ in range(5):
            page.page.keyboard.press("Backspace")
        assert page.evaluate("document.getElementById('announce-room').textContent") == "1000 of 1000 characters"
        assert asked == []
        page.click("#announce button[type=submit]")
        page.wait("an answer", "document.getElementById('announce-note').textContent !== ''")
        assert len(asked) == 1


def test_a_double_click_on_record_is_one_and_the_sign_goes_with_the_device(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(str(request.post_data)) if request.url.endswith("/api/v1/recording") else None)
        # The second half of a double click comes after the answer to the first.
        page.evaluate("""(() => {
          window.seconds = 0;
          const fetch = window.fetch;
          window.fetch = async (address, options) => {
            const answer = await fetch(address, options);
            if (String(address).endsWith('/recording')) setTimeout(() => { document.getElementById('record').click(); seconds += 1; }, 100);
            return answer;
          };
        })()""")
        page.click("#record")
        page.wait("the second half", "seconds === 1")
        page.wait("the button again", "!document.getElementById('record').disabled")
        page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        assert page.evaluate("document.getElementById('recording').checkVisibility()")
        page.click("#record")
        page.wait("the second half", "seconds === 2")
        page.wait("no sign", "document.getElementById('recording').textContent === ''")
        page.wait("the button again", "!document.getElementById('record').disabled")
        assert [("start" in body, "stop" in body) for body in asked] == [(True, False), (False, True)], asked
        page.click("#record")
        page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        one.kill()
        page.wait_data(state="reconnecting")
        assert not page.evaluate("document.getElementById('recording').checkVisibility()")
        page.wait("no sign left", "document.getElementById('recording').textContent === ''")
        assert page.evaluate("document.getElementById('record').getAttribute('aria-pressed')") == "false"


def test_what_is_said_of_a_wish_to_record_goes_with_its_cause(device: Start, tmp_path: Path) -> None:
    """When somebody else's recording runs, and when the device is back; of two who press at one moment neither reads that nothing is recorded."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.live(one.url), chromium.live(one.url)
        sign = lambda on: f"document.getElementById('recording').textContent === '{'Recording' if on else ''}'"  # noqa: E731
        press = "document.getElementById('record').click()"
        full = {"error": {"code": "notRecorded", "message": "Nothing is recorded: the disk is full."}}
        page.page.route("**/api/v1/recording", lambda route: route.fulfill(status=503, json=full))
        page.click("#record")
        wait_for("why not", lambda: page.state_line() == "Nothing is recorded The disk is full.")
        other.click("#record")
        page.wait("the other's recording", sign(True))
        assert page.state_line() == "Live"
        page.page.unroute("**/api/v1/recording")
        page.wait("the button again", "!document.getElementById('record').disabled")
        page.click("#record")
        for each in (page, other):
            each.wait("no recording", sign(False))
            each.wait("the button again", "!document.getElementById('record').disabled")
        told = [keep(each, "headline") for each in (page, other)]
        answers: list[int] = []
        for each in (page, other):
            each.page.on("response", lambda answer: answers.append(answer.status) if answer.url.endswith("/api/v1/recording") else None)
            each.evaluate(press)
        for each in (page, other):
            each.wait("a recording of both", sign(True))
            each.wait("the button again", "!document.getElementById('record').disabled")
        assert [set(headlines()) for headlines in told] == [{"Live"}] * 2, answers
        print("answers to two who press at one moment:", answers)
        # A service that stands still, and one that is gone.
        assert one.process
        one.process.send_signal(signal.SIGSTOP)
        page.click("#record")
        wait_for("that it does not answer", lambda: "The device does not answer" in page.state_line(), 5)
        one.process.send_signal(signal.SIGCONT)
        wait_for("nothing of it", lambda: page.state_line() == "Live", 25)
        one.kill()
        page.wait_data(state="reconnecting")
        page.wait("the button", "!document.getElementById('record').disabled")
        page.click("#record")
        wait_for("that it does not answer", lambda: page.state_line() == "The device does not answer Nothing is recorded.", 2)
        one.flags[one.flags.index("--listen") + 1] = f"127.0.0.1:{one.port}"
        one.start()
        page.wait_data(state="live")
        assert page.state_line() == "Live"


def test_a_password_set_in_mid_call_is_told_to_whom_it_puts_out(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        assert one.command("passwd", text="a horse, a battery\n").returncode == 0
        page.wait_data(view="sign-in")
        assert "has a password from now on" in page.page.text_content("#sign-in-error")
        page.page.fill("#password", "a horse, a battery")
        assert page.page.text_content("#sign-in-error") == ""
        page.click("#sign-in")
        page.wait_data(view="call", state="live")
        page.click("#settings-toggle")
        page.click("#sign-out")
        page.wait_data(view="sign-in")
        assert page.page.text_content("#sign-in-error") == ""


def test_a_chosen_quality_outlives_a_reload(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#settings-toggle")
        page.page.select_option("#quality", "low")
        present = lambda: page.page.text_content("#quality-present")  # noqa: E731
        wait_for("the small picture", lambda: present() == "Low")
        page.page.reload()
        page.wait_data(state="live")
        wait_for("the small picture again", lambda: present() == "Low")
        assert page.page.input_value("#quality") == "low"


def test_a_long_name_leaves_room_for_what_is_wrong_on_a_phone_on_its_side(device: Start, tmp_path: Path) -> None:
    one = device("--name", "The door behind the garden of the house at the end of a street", "--sound", "speaker:none-of-this-name")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, viewport={"width": 740, "height": 360})
        page.start_talk()
        wait_for("the warning", lambda: "You are not heard" in page.state_line())
        boxes = page.evaluate("""['name', 'headline', 'detail', 'talk', 'fullscreen'].map((id) => {
          const { left, right, top, bottom } = document.getElementById(id).parentElement.getBoundingClientRect();
          return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight && right - left > 40;
        })""")
        assert boxes == [True] * 5
        shown = page.evaluate("document.getElementById('detail').checkVisibility() && document.getElementById('detail').getBoundingClientRect().left < innerWidth - 100")
        assert shown and "not heard" in page.state_line()
        page.page.screenshot(path=str(tmp_path / "low.png"))
