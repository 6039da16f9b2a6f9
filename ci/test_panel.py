"""The owner's panel in Chromium: it steers the device while the call beside it goes on."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

from browser import Chromium, ChromiumPage
from device import Device, wait_for
from peer import call, set_password, sign_in

pytestmark = pytest.mark.beside

Start = Callable[..., Device]


def get(device: Device, path: str) -> Any:
    status, _, body = call(device, "GET", f"/api/v1/{path}")
    assert status == 200, body
    return json.loads(body)


def begun(device: Device) -> float:
    """Sessions of viewers since the start: grows with every new connection."""
    text = call(device, "GET", "/metrics")[2].decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("duplex_sessions_begun_total "))


def picture(path: Path, colour: str) -> Path:
    subprocess.run(["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", f"color={colour}:s=640x360", "-frames:v", "1", str(path)], check=True, timeout=60)
    return path


# Holds back the next answer of the method in `hold` about passwords, until what is in `held` is called; counts the lists that came.
HOLD = """(() => {
  const fetch = window.fetch;
  Object.assign(window, { hold: null, held: [], lists: 0 });
  window.fetch = async (path, options) => {
    const answer = await fetch(path, options);
    if (!String(path).endsWith("/passwords")) return answer;
    const copy = new Response(await answer.text(), answer);
    if (options.method === window.hold) {
      window.hold = null;
      await new Promise((go) => window.held.push(go));
    }
    if (options.method === "GET") window.lists += 1;
    return copy;
  };
})()"""


def open_panel(page: ChromiumPage) -> None:
    page.click("#owner-toggle")
    page.wait("the panel with sources", "document.querySelectorAll('#steer-video option').length > 1")


def test_source_and_volume_are_changed_while_the_call_goes_on(device: Start, tmp_path: Path) -> None:
    blue = picture(tmp_path / "blue.png", "blue")
    one = device("--video", f"image:{blue}", "--audio", "test")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        assert page.colour(0.3, 0.3, 0.2, 0.2)[2] > 150, "blue"
        loud = wait_for("a tone", lambda: (level := page.level()) > -60 and level)
        open_panel(page)
        assert page.evaluate("document.getElementById('steer-video').value") == f"image:{blue}"
        stream = page.evaluate("document.getElementById('picture').srcObject.id")

        page.page.select_option("#steer-video", "test")
        page.wait_frame()
        page.wait("what the configuration says", f"document.querySelector('[data-steers=video] small')?.textContent.includes('image:{blue}')")
        page.page.locator("#steer-device-volume").fill("10")
        wait_for("a much lower level", lambda: page.level(0.5) < loud - 12)
        page.click("[data-volume=deviceVolume] button")
        page.wait("muted", "document.querySelector('[data-volume=deviceVolume] button').getAttribute('aria-pressed') === 'true'")
        wait_for("silence", lambda: page.level(0.5) < -80)

        present = get(one, "steering")
        assert present["video"] == {"value": "test", "configured": f"image:{blue}", "changed": True}
        assert present["deviceVolume"]["value"] == 0.1 and present["deviceMuted"]["value"] is True
        # One change made elsewhere shows here as well.
        origin = {"Origin": one.url.rstrip("/")}
        assert call(one, "PATCH", "/api/v1/steering", {"deviceMuted": False, "deviceVolume": 1.0}, headers=origin)[0] == 200
        page.wait("the change from elsewhere", "document.getElementById('steer-device-volume').value === '100'")

        page.page.select_option("#steer-video", label="Other…")
        field = "[data-steers=video] form input"
        # Told beside the field, and read with it; what was typed stays, to be mended.
        told = f"(field => [field.value, field.getAttribute('aria-invalid'), document.activeElement === field, document.getElementById(field.getAttribute('aria-describedby').split(' ')[0]).textContent])(document.querySelector('{field}'))"
        page.page.fill(field, "image:/nowhere.png")
        page.click("[data-steers=video] form button")
        said = page.wait("a refusal", f"(told => told[1] === 'true' && told)({told})")
        assert said[0] == "image:/nowhere.png" and said[2] and "nowhere" in said[3], said
        assert page.evaluate("document.getElementById('steer-video').selectedOptions[0].text") == "Other…"
        assert get(one, "steering")["video"]["value"] == "test" and page.page.text_content("#steer-video-now") == "Now: Test picture"
        # An empty field is told what belongs there, and asks nothing of the device.
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(request.method) if request.url.endswith("/steering") else None)
        page.page.fill(field, "  ")
        assert page.evaluate(told)[1] is None, "of what is no longer there"
        page.click("[data-steers=video] form button")
        wait_for("what is wanted", lambda: page.evaluate(told) == ["  ", "true", True, "Write first where the picture is to come from, such as camera:NAME."])
        assert asked == []
        page.page.fill(field, "nothing")
        page.page.keyboard.press("Enter")
        said = page.wait("a plain sentence", f"(told => told[3].startsWith('“nothing” cannot be used: it must be ') && told[3])({told})")
        assert "column" not in said and "body" not in said, said
        # A device that is not there now is taken, and that it is not there is told at once.
        remark = "document.querySelector('[data-steers=video] .remark').textContent"
        assert page.evaluate(remark) == ""
        page.page.fill(field, "camera:nope")
        page.page.keyboard.press("Enter")
        page.wait("what is known of it", f"{remark} === 'The camera \"nope\" is not there now; it is used as soon as it comes.'")
        assert get(one, "steering")["video"]["value"] == "camera:nope"
        assert call(one, "PATCH", "/api/v1/steering", {"deviceMuted": True}, headers=origin)[0] == 200
        page.wait("another change", "document.querySelector('[data-volume=deviceVolume] button').getAttribute('aria-pressed') === 'true'")
        assert "nope" in page.evaluate(remark), "it is still so"
        page.page.select_option("#steer-video", "test")
        page.wait("nothing of it any more", f"{remark} === ''")
        page.page.select_option("#steer-video", label="Other…")
        page.page.keyboard.press("Escape")
        assert page.evaluate("document.querySelector('[data-steers=video] form') === null && document.getElementById('steer-video').value === 'test'")
        assert not page.evaluate("document.getElementById('owner').hidden") and page.evaluate("document.activeElement.id") == "steer-video"
        page.click("[data-steers=video] small button")
        wait_for("blue again", lambda: page.colour(0.3, 0.3, 0.2, 0.2)[2] > 150 and page.frame() == -1)

        assert page.evaluate("document.getElementById('picture').srcObject.id") == stream
        assert begun(one) == 1 and page.evaluate("document.getElementById('app').dataset.state") == "live"
        # The refused changes are the only errors, and the browser itself writes them.
        assert [fault for fault in page.faults if "422" not in fault and "400" not in fault] == []


def test_a_source_changed_elsewhere_is_shown_beside_an_open_field(device: Start, tmp_path: Path) -> None:
    """An empty field gives way to it; one with words in it stays, and says what is in force."""
    blue = picture(tmp_path / "blue.png", "blue")
    one = device("--video", f"image:{blue}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        open_panel(page)
        page.page.select_option("#steer-video", label="Other…")
        page.page.select_option("#steer-audio", label="Other…")
        page.page.fill("[data-steers=audio] form input", "speech:half a sent")
        page.page.focus("[data-steers=video] form input")
        assert one.command("source", "set", "video", "test").returncode == 0
        page.wait("what is in force", "document.getElementById('steer-video').value === 'test' && document.querySelector('[data-steers=video] form') === null")
        assert page.evaluate("document.activeElement.id") == "steer-video"
        assert "Changed while running" in page.page.text_content("[data-steers=video] small")
        assert one.command("source", "set", "audio", "silence").returncode == 0
        page.wait("what is in force", "document.getElementById('steer-audio-now').textContent === 'Now: Silence'")
        assert page.page.input_value("[data-steers=audio] form input") == "speech:half a sent"
        page.page.select_option("#steer-audio", "test")
        page.wait("the other choice", "document.querySelector('[data-steers=audio] form') === null && document.getElementById('steer-audio').value === 'test'")
        page.page.select_option("#steer-audio", label="Other…")
        page.page.fill("[data-steers=audio] form input", "silence")
        page.page.keyboard.press("Enter")
        page.wait("what was typed", "document.querySelector('[data-steers=audio] form') === null && document.getElementById('steer-audio').value === 'silence'")
        assert page.evaluate("document.activeElement.id") == "steer-audio"


def test_a_service_started_with_other_settings_is_shown_as_it_is(device: Start, tmp_path: Path) -> None:
    """In a panel that stays open, and with the focus on what has changed."""
    blue = picture(tmp_path / "blue.png", "blue")
    one = device("--audio-volume", "0.5")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        open_panel(page)
        page.page.focus("#steer-device-volume")
        assert page.page.input_value("#steer-device-volume") == "50"
        one.flags[one.flags.index("--audio-volume") + 1] = "0.3"
        one.flags += ["--video", f"image:{blue}"]
        one.restart()
        page.wait("the picture of now", f"document.getElementById('steer-video').value === 'image:{blue}'")
        page.wait("the volume of now", "document.getElementById('steer-device-volume').value === '30'")
        assert page.evaluate("document.querySelector('[data-volume=deviceVolume] output').textContent") == "30 %"
        assert page.evaluate("document.activeElement.id") == "steer-device-volume"


def test_another_browsers_session_is_ended_and_says_so(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        owner, other = chromium.open(one.url), chromium.open(one.url)
        owner.wait_frame()
        other.wait_frame()
        open_panel(owner)
        owner.wait("both in the list", "document.querySelectorAll('#people li').length === 2")
        names = owner.evaluate("[...document.querySelectorAll('#people strong')].map((name) => name.textContent)")
        assert names.count("You") == 1 and len(set(names)) == 2 and "Owner" not in names, names
        (called,) = set(names) - {"You"}
        assert other.evaluate("document.getElementById('own-name').textContent") == f"You are called {called} here."
        button = "#people li:not(:has(.chip)) button"
        owner.click(button)
        how = "[...document.querySelectorAll('#people li')].map((row) => row.querySelector(':scope > small').textContent.replaceAll('\u00a0', ' '))"
        said = owner.wait("how the way to each does", f"(said => said.length === 2 && said.every((one) => one.includes('round trip')) && said)({how})")
        assert all(re.fullmatch(r"\d+ × \d+ · [\d.]+ Mbit/s( · [\d.]+ % lost)? · round trip (under )?\d+ ms( · delay \d+ ms)?", one) for one in said), said
        owner.wait("a question", f"document.querySelector('{button}').textContent === 'Really end?'")
        owner.click(button)
        other.wait_data(state="ended")
        assert "owner of this device has ended" in other.state_line()
        owner.wait("one in the list", "document.querySelectorAll('#people li').length === 1")
        owner.wait_frame()
        assert other.evaluate("document.getElementById('call-again').checkVisibility()")
        other.click("#call-again")
        other.wait_data(state="live")
        other.wait_frame()
        owner.wait("both again", "document.querySelectorAll('#people li').length === 2")


def test_the_panel_with_the_keyboard_and_on_a_phone(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, viewport={"width": 360, "height": 740}, locale="en-US", timezone_id="America/New_York")
        page.page.focus("#owner-toggle")
        page.page.keyboard.press("Enter")
        page.wait("the panel with sources", "document.querySelectorAll('#steer-video option').length > 1")
        assert page.evaluate("document.activeElement.id") == "owner"
        for details in ("#passwords-details", "#log-details", "#configuration-details", "details:has(#certificate)"):
            page.page.focus(f"{details} > summary")
            page.page.keyboard.press("Enter")
        page.wait("the log", "document.querySelectorAll('#log li').length > 1")
        page.wait("the configuration", "[...document.querySelectorAll('#configuration dt')].some((key) => key.textContent === 'state-dir')")
        assert one.command("mute", "talk").returncode == 0
        page.wait("what was changed", "[...document.querySelectorAll('#configuration div')].some((key) => /^sound-mutetruechanged while running, kept in .*changes.toml; the configuration says false$/.test(key.textContent))")
        assert one.command("unmute", "talk").returncode == 0
        page.wait("as configured", "![...document.querySelectorAll('#configuration dt')].some((key) => key.textContent === 'sound-mute')")
        page.wait("the certificate", "document.getElementById('certificate').textContent.includes('localhost')")
        page.page.focus("#passwords li[data-role=owner] button")
        page.page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "passwords-next"
        assert page.evaluate("document.getElementById('owner').scrollWidth <= 360 && document.documentElement.scrollWidth <= 360")
        small = page.evaluate("[...document.querySelectorAll('#owner :is(button, select, summary)')].filter((one) => one.checkVisibility() && !one.matches('.link') && one.getBoundingClientRect().height < 36).map((one) => one.outerHTML)")
        assert small == [], "too small for a finger"
        nameless = page.evaluate("[...document.querySelectorAll('#owner :is(input, select)')].filter((one) => one.checkVisibility() && !one.labels.length && !one.ariaLabel).map((one) => one.id)")
        assert nameless == [], "no name for a screen reader"
        page.page.keyboard.press("Escape")
        assert page.evaluate("[document.querySelectorAll('#passwords form').length, document.activeElement.ariaLabel, document.getElementById('owner').hidden]") == [0, "Set the owner’s password", False]
        # One form of time, in a language that counts to twelve as well.
        times = page.evaluate("[...document.querySelectorAll('#people small:not(:empty), #device-facts div, #log time')].map((one) => one.textContent.replaceAll('\u00a0', ' ')).filter((text) => /since|^Clock|^\\d/.test(text))")
        assert len(times) > 3 and not any(re.search(r"\b[AP]M\b", text) for text in times), times
        assert any(re.search(r"since \d\d:\d\d\b", text) for text in times) and any(re.match(r"Clock[A-Z][a-z]{2} \d+, \d{4}, \d\d:\d\d:\d\d", text) for text in times), times
        before = page.evaluate("document.querySelectorAll('#log li').length")
        call(one, "POST", "/api/v1/sign-in", {"password": "wrong"}, headers={"Origin": one.url.rstrip("/")})
        page.wait("a new line of the log", f"document.querySelectorAll('#log li').length > {before}")
        page.page.keyboard.press("Escape")
        assert page.evaluate("document.getElementById('owner').hidden && document.activeElement.id === 'owner-toggle'")
        page.wait_frame()


def test_passwords_are_set_and_removed_in_the_panel(device: Start, tmp_path: Path) -> None:
    """From none at all on, each with the owner's own typed again; whom it puts out is put out, and the owner's page goes on."""
    one = device()
    owner, talker, wrong = "a horse, a battery", "also to talk with", "never was one of them"
    told = "((field, error) => [field.getAttribute('aria-invalid'), document.activeElement === field, error.textContent, field.getAttribute('aria-describedby').split(' ').includes(error.id)])"
    said = "document.getElementById('passwords-note').textContent"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.live(one.url), chromium.live(one.url)
        asked: list[str] = []
        page.page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        open_panel(page)
        page.click("#passwords-details > summary")
        page.wait("that there is none", "document.getElementById('passwords-summary').textContent === 'none is set'")
        assert page.page.is_disabled("#passwords li[data-role=talker] button")
        page.click("#passwords li[data-role=owner] button")
        page.page.fill("#passwords-next", "short")
        page.page.keyboard.press("Enter")
        refused = page.evaluate(f"{told}(document.getElementById('passwords-next'), document.getElementById('passwords-error'))")
        assert refused == ["true", True, "The new password needs at least 10 characters.", True] and not any("POST" in one and "passwords" in one for one in asked)
        page.page.fill("#passwords-next", owner)
        page.page.keyboard.press("Enter")
        page.wait("that it is set", f"{said} === 'The owner’s password is set.'")
        other.wait_data(view="sign-in")
        assert "has a password from now on" in (other.page.text_content("#sign-in-error") or "")
        (cookie,) = page.page.context.cookies()
        assert cookie["name"].startswith("__Host-") and cookie["httpOnly"]

        page.click("#passwords li[data-role=talker] button")
        page.page.fill("#passwords-next", talker)
        page.page.keyboard.press("Enter")
        assert page.evaluate(f"{told}(document.getElementById('passwords-own'), document.getElementById('passwords-error'))")[:3] == ["true", True, "Type the owner’s present password as well, to set this one."]
        page.evaluate(HOLD)
        page.evaluate("window.hold = 'POST'")
        page.page.fill("#passwords-own", wrong)
        page.page.keyboard.press("Enter")
        page.wait("the answer", "window.held.length === 1")
        # Nothing takes back what is sent: the form stays for the answer.
        page.page.keyboard.press("Escape")
        page.page.dispatch_event("#passwords li[data-role=owner] button", "click")
        assert page.evaluate("[...document.querySelectorAll('#passwords form')].map((form) => form.closest('li').dataset.role)") == ["talker"]
        assert page.page.is_disabled("#passwords form button:has-text('Cancel')")
        page.evaluate("window.held.pop()()")
        page.wait("the refusal", f"{told}(document.getElementById('passwords-own'), document.getElementById('passwords-error'))[2] === 'The password is wrong.'")
        assert page.page.input_value("#passwords-next") == talker and page.evaluate("document.activeElement.id") == "passwords-own"
        page.page.fill("#passwords-own", owner)
        page.evaluate("window.hold = 'GET'")
        page.wait("a list of before", "window.held.length === 1")
        page.page.keyboard.press("Enter")
        page.wait("that it is set", f"{said} === 'The talker’s password is set.'")
        # The list of before comes after the change, and is not shown; the next one is.
        page.evaluate("window.summaries = []")
        page.evaluate("new MutationObserver(() => window.summaries.push(document.getElementById('passwords-summary').textContent)).observe(document.getElementById('passwords-summary'), { childList: true }) ?? null")
        lists = page.evaluate("window.held.pop()() ?? window.lists")
        page.wait("both lists", f"window.lists >= {lists} + 2")
        page.wait("the next one", "window.summaries.length > 0")
        assert set(page.evaluate("window.summaries")) == {"owner, talker"}
        assert page.page.text_content("#passwords-summary") == "owner, talker" and page.evaluate("document.querySelectorAll('#owner input[type=password]').length") == 0
        other.page.fill("#password", talker)
        other.click("#sign-in")
        other.wait_data(view="call", state="live")
        page.click("#passwords li[data-role=talker] button:has-text('Remove')")
        page.page.fill("#passwords-own", owner)
        page.click("#passwords form button:has-text('Remove')")
        page.wait("that it is removed", f"{said} === 'The talker’s password is removed.'")
        other.wait_data(view="sign-in")
        assert "sign-in has ended" in (other.page.text_content("#sign-in-error") or "")
        page.wait_data(view="call", state="live")
        page.wait_frame()
        assert page.evaluate("fetch('/api/v1/status').then((answer) => answer.json())")["access"] == {"role": "owner", "open": False, "needsSetup": False}
        assert not page.evaluate("document.getElementById('owner').hidden")
        lines = "\n".join([one.log(), *asked, json.dumps(page.evaluate("fetch('/api/v1/log?lines=500').then((answer) => answer.json())"))])
        assert re.search(r"request refused.*/api/v1/passwords.*wrongPassword", one.log()) and "set a password in the page" in lines and not any(word in lines for word in (owner, talker, wrong, cookie["value"]))


def test_only_owners_see_the_panel(device: Start, tmp_path: Path) -> None:
    one = device()
    set_password(one)
    word = set_password(one, "talker", "also to talk with")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(view="sign-in")
        page.page.fill("#password", word)
        page.click("#sign-in")
        page.wait_frame()
        assert page.evaluate("document.getElementById('owner-toggle').hidden")
        assert page.evaluate("fetch('/api/v1/sessions').then((answer) => answer.status)") == 403
    assert sign_in(one, word)
