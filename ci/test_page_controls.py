"""The controls of the call page, used as a person does: held by mouse and key, reached by keyboard, read by a screen reader, in both schemes.

Where it counts what comes out of the loudspeaker or goes into the microphone, Chromium has a sound server of its own with two of each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from browser import KEEP_CONNECTIONS, Chromium, ChromiumPage, strongest_hz, write_tone
from device import Device, end_processes, wait_for
from stock import RATE, amplitude

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
VOICE_HZ = 1000.0
#: What a person finds in the bar from left to right, with everything that an owner has.
CONTROLS = ["camera", "talk", "mute", "volume", "record", "recordings-open", "stats-toggle", "owner-toggle", "settings-toggle", "fullscreen"]


class CarefulChromium(Chromium):
    """Asks before it gives a microphone away, and nobody answers."""

    FLAGS = tuple(flag for flag in Chromium.FLAGS if flag != "--use-fake-ui-for-media-stream")


class SoundingChromium(Chromium):
    """Plays to the sound server's loudspeakers and hears its microphones."""

    FLAGS = tuple(flag for flag in Chromium.FLAGS if flag != "--use-fake-device-for-media-stream")
    WITHOUT = ("--mute-audio",)


# --- hold to talk ---


def hold(page: ChromiumPage, one: Device, heard: Path, down: Callable[[], object], up: Callable[[], object]) -> None:
    """Talks while the control is held down, and not a moment longer."""
    seen = len(one.lines)
    down()
    page.wait_data(talk="talking")
    wait_for("a second of the voice", lambda: (hz := strongest_hz(heard, 1.0)) and abs(hz - VOICE_HZ) < 10, 15)
    page.wait("what letting go does", "document.getElementById('talk-hint').textContent === 'Let go to stop'")
    assert page.evaluate("app.dataset.talk") == "talking"
    assert not any("turn ends" in line for line in one.lines[seen:])
    up()
    page.wait_data(talk="idle")
    one.wait_for_log("turn ends", after=seen)


# A microphone that takes as long to open as the test wants: until the page's `opens` is called.
SLOW_MICROPHONE = """
window.opens = () => {};
const capture = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  if (window.slow) await new Promise((done) => (window.opens = done));
  const stream = await capture(wanted);
  window.opened = stream;
  return stream;
};
"""


def test_hold_to_talk_with_the_mouse(device: Start, tmp_path: Path) -> None:
    """A press that lasts talks while it lasts; let go before the microphone is open, it talks not at all; a short one stays on."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url, SLOW_MICROPHONE)
        mouse = page.page.mouse
        page.page.hover("#talk")
        hold(page, one, heard, mouse.down, mouse.up)
        # Away from the control the press is still a press.
        page.page.hover("#talk")
        hold(page, one, heard, mouse.down, lambda: (mouse.move(600, 200), mouse.up()))
        page.evaluate("window.slow = true, window.opened = null")
        seen = len(one.lines)
        page.page.hover("#talk")
        mouse.down()
        page.wait_data(talk="waiting")
        page.wait("a press that lasts", "document.getElementById('talk-hint').textContent === 'Let go to stop'")
        mouse.up()
        page.wait_data(talk="idle")
        page.evaluate("window.slow = false, window.opens()")
        page.wait("the microphone closed again", "window.opened?.getTracks()[0].readyState === 'ended'")
        assert page.evaluate("app.dataset.talk") == "idle" and not any("talker" in line for line in one.lines[seen:])
        page.page.hover("#talk")
        mouse.down()
        mouse.up()
        page.wait_data(talk="talking")
        time.sleep(1)
        assert page.evaluate("app.dataset.talk") == "talking", "a tap stays on"
        page.end_talk()


def test_hold_to_talk_with_the_space_bar(device: Start, tmp_path: Path) -> None:
    """The same with the key, on the control and with the focus nowhere; on another control and in a field it is that one's own."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        keys = page.page.keyboard

        def down() -> None:
            # A key that is held repeats.
            for _ in range(5):
                keys.down("Space")
                time.sleep(0.1)

        hint = lambda: page.page.text_content("#talk-hint")  # noqa: E731
        page.page.focus("#talk")
        wait_for("the key is told", lambda: hint() == "Click to talk, or hold. Space works too.")
        hold(page, one, heard, down, lambda: keys.up("Space"))
        page.evaluate("document.activeElement.blur()")
        hold(page, one, heard, down, lambda: keys.up("Space"))
        wait_for("the key is told", lambda: "Space" in (hint() or ""))
        # What the mouse has pressed leaves the key alone, also where the focus is given back to it; what Tab has reached has it.
        page.click("#mute")
        page.wait_data(sound="muted")
        wait_for("the key is told", lambda: "Space" in (hint() or ""))
        hold(page, one, heard, down, lambda: keys.up("Space"))
        assert page.evaluate("app.dataset.sound") == "muted"
        page.click("#record")
        page.wait("the button again", "document.getElementById('recording').textContent !== '' && !document.getElementById('record').disabled")
        assert focused(page) == ""
        tab_to(page, "mute")
        wait_for("the key is the other control's", lambda: hint() == "Click to talk, or hold.")
        keys.press("Space")
        page.wait_data(sound="on")
        keys.press("Space")
        page.wait_data(sound="muted")
        keys.press("Space")
        page.wait_data(sound="on")
        page.click("#settings-toggle")
        page.page.focus("#announce-text")
        keys.press("Space")
        assert page.evaluate("document.getElementById('announce-text').value") == " "
        page.page.keyboard.press("Escape")
        # In the panel it opens what can be opened.
        page.click("#owner-toggle")
        page.wait("the panel", "app.dataset.panel !== undefined")
        page.page.focus("#log-details > summary")
        keys.press("Space")
        page.wait("the log", "document.getElementById('log-details').open")
        assert "Space" not in (hint() or "")
        page.click("#owner-close")
        wait_for("the key is told again", lambda: "Space" in (hint() or ""))
        assert page.evaluate("app.dataset.talk") == "idle"
        hold(page, one, heard, down, lambda: keys.up("Space"))
        assert page.evaluate("app.dataset.panel === undefined")
        page.page.focus("#owner-toggle")
        keys.press("Space")
        page.wait("the panel by its key", "app.dataset.panel !== undefined")


#: A phone with a pen: its screen is for fingers first, and points finely all the same.
PEN = """
const asked = window.matchMedia.bind(window);
window.matchMedia = (query) => asked(query.replaceAll("(any-pointer: fine)", "(width > 0px)").replaceAll("(hover: none) and (pointer: coarse)", "(width > 0px)"));
"""


def test_a_device_without_a_keyboard_is_told_of_none(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, PEN, viewport={"width": 390, "height": 844})
        wait_for("what a finger does", lambda: page.page.text_content("#talk-hint") == "Tap to talk, or hold.")


# --- which microphone, which loudspeaker, how loud ---


class Sounds:
    """A sound server with two microphones, of a tone each, and two loudspeakers that are listened to."""

    MICROPHONES = {"Desk": 700.0, "Headset": 1300.0}
    SPEAKERS = ("Monitor", "Earphones")

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = folder
        self.environment = {"PULSE_SERVER": f"unix:{folder}/pulse", "PULSE_COOKIE": str(folder / "cookie"), "PULSE_RUNTIME_PATH": str(folder / "run")}
        self.every = {**os.environ, **self.environment, "HOME": str(folder)}
        described = "{}_properties=device.description={}"
        loads = [f"module-native-protocol-unix socket={folder}/pulse auth-anonymous=1"]
        for name in self.SPEAKERS:
            loads.append(f"module-null-sink sink_name={name} rate={RATE} format=s16le channels=2 {described.format('sink', name)}")
        for name in self.MICROPHONES:
            loads.append(f"module-null-sink sink_name=in{name} rate={RATE} format=s16le channels=1")
            loads.append(f"module-remap-source source_name={name} master=in{name}.monitor {described.format('source', name)}")
        words = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disallow-exit=no"]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = (folder / "pulse.log").open("wb")
        self._run(*words, *(word for line in loads for word in ("-L", line)))
        wait_for("the sound server", lambda: (folder / "pulse").exists(), 20)
        wait_for("its devices", lambda: self._control("set-default-sink", self.SPEAKERS[0]) and self._control("set-default-source", "Desk"), 20)
        for name, hz in self.MICROPHONES.items():
            self._run("paplay", "-d", f"in{name}", str(write_tone(folder / f"{name}.wav", hz, 150)))
        for name in self.SPEAKERS:
            with (folder / f"{name}.raw").open("wb") as kept:
                self._run("parec", "-d", f"{name}.monitor", "--raw", f"--rate={RATE}", "--format=s16le", "--channels=1", "--latency-msec=50", stdout=kept)

    def _run(self, *words: str, stdout: Any = None) -> None:
        self.processes.append(subprocess.Popen(words, env=self.every, stdin=subprocess.DEVNULL, stdout=stdout or self.log, stderr=self.log))

    def _control(self, *words: str) -> bool:
        return subprocess.run(["pactl", *words], env=self.every, stdout=self.log, stderr=self.log, timeout=10).returncode == 0

    def played(self, speaker: str, hz: float = 440) -> float:
        """Amplitude of the device's tone over the last half second of a loudspeaker."""
        data = (self.folder / f"{speaker}.raw").read_bytes()
        return amplitude(np.frombuffer(data[: len(data) & ~1], "<i2")[-RATE // 2:] / 32768.0, hz)

    def stop(self) -> None:
        end_processes(self.processes)
        self.log.close()


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sounds]:
    """A sound server of the test's own."""
    if not all(shutil.which(name) for name in ("pulseaudio", "pactl", "paplay", "parec")):
        pytest.skip("pulseaudio and pulseaudio-utils are not installed")
    one = Sounds(tmp_path / "sounds")
    for name, value in one.environment.items():
        monkeypatch.setenv(name, value)
    yield one
    one.stop()


def test_loudspeaker_and_volume_are_chosen(device: Start, tmp_path: Path, sounds: Sounds) -> None:
    """The chosen loudspeaker plays, and the other no longer, as loud as the slider says; mute and volume outlive a reload."""
    one = device()
    with SoundingChromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        first, second = sounds.SPEAKERS
        wait_for("the tone on the first loudspeaker", lambda: sounds.played(first) > 0.02)
        assert sounds.played(second) < 0.001
        # A browser tells the names of what it may use only after a first permission.
        page.start_talk()
        page.end_talk()
        page.click("#settings-toggle")
        wait_for("both by their names", lambda: set(sounds.SPEAKERS) <= set(page.page.locator("#speaker option").all_text_contents()))
        page.page.select_option("#speaker", label=second)
        full = wait_for("the tone on the second alone", lambda: level if (level := sounds.played(second)) > 0.02 and sounds.played(first) < 0.001 else None)
        # The tone is steady: what changes now is the slider's doing.
        page.page.fill("#volume", "25")
        wait_for("a quarter as loud", lambda: 0.2 < sounds.played(second) / full < 0.3)
        page.page.fill("#volume", "0")
        wait_for("silence", lambda: sounds.played(second) < 0.0005)
        page.page.focus("#volume")
        page.page.keyboard.press("End")
        wait_for("all of it", lambda: 0.9 < sounds.played(second) / full < 1.1)
        page.page.fill("#volume", "40")
        page.click("#mute")
        wait_for("silence again", lambda: sounds.played(second) < 0.0005)
        page.page.reload()
        page.wait_data(state="live", sound="muted")
        assert page.evaluate("[document.getElementById('volume').value, document.getElementById('picture').volume]") == ["40", 0.4]


def test_mute_shows_volume_0_and_brings_back_what_was_before(device: Start, tmp_path: Path) -> None:
    """Not a step on the way to it; also after a reload, and where nothing was chosen before."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        told = "[document.getElementById('mute').getAttribute('aria-pressed'), document.getElementById('volume').value, picture.volume, picture.muted].join()"
        page.wait("sound", f"{told} === 'false,100,1,false'")
        page.page.fill("#volume", "0")
        page.wait("a sign of silence", f"{told} === 'true,0,0,false'")
        page.click("#mute")
        page.wait("all of it", f"{told} === 'false,100,1,false'")
        page.page.fill("#volume", "40")
        page.click("#mute")
        page.wait("muted, with its volume", f"{told} === 'true,40,0.4,true'")
        page.click("#mute")
        # As one drags it there.
        page.evaluate("for (const value of [20, 1, 0]) { volume.value = value; volume.dispatchEvent(new Event('input')); }")
        page.evaluate("volume.dispatchEvent(new Event('change'))")
        page.page.reload()
        page.wait_data(state="live")
        page.wait("a sign of silence", f"{told} === 'true,0,0,false'")
        page.click("#mute")
        page.wait("what was before", f"{told} === 'false,40,0.4,false'")


def test_the_chosen_microphone_is_heard(device: Start, tmp_path: Path, sounds: Sounds) -> None:
    """The chosen microphone is what the device hears: changed in mid-talk, and still in the next talk."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}")

    def wait_for_voice(name: str) -> None:
        hz = sounds.MICROPHONES[name]
        wait_for(f"the microphone {name}", lambda: (got := strongest_hz(heard, 1.0)) and abs(got - hz) < 10, 15)

    with SoundingChromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.start_talk()
        wait_for_voice("Desk")
        page.click("#settings-toggle")
        names = wait_for("both microphones", lambda: found if len(found := page.page.locator("#microphone option").all_text_contents()) == 3 else None)
        assert names[0] == "Default" and sorted(names[1:]) == ["Desk", "Headset"], names
        page.page.select_option("#microphone", label="Headset")
        wait_for_voice("Headset")
        page.page.select_option("#microphone", label="Desk")
        wait_for_voice("Desk")
        page.page.select_option("#microphone", label="Headset")
        page.end_talk()
        page.start_talk()
        wait_for_voice("Headset")
        page.end_talk()


def test_a_fake_microphone_is_chosen_by_its_name(device: Start, tmp_path: Path) -> None:
    """Without a sound server, too: names are there from the first permission on, and the choice is what is sent."""
    one = device()
    sent = "connections.flatMap((one) => one.getSenders()).map((one) => one.track?.kind === 'audio' && one.track.readyState === 'live' && one.track.label).filter(Boolean)"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        page.start_talk()
        page.click("#settings-toggle")
        names = wait_for("names", lambda: [name for name in page.page.locator("#microphone option").all_text_contents() if name != "Default"])
        assert len(names) >= 2 and all("Fake" in name for name in names), names
        for name in names:
            page.page.select_option("#microphone", label=name)
            wait_for(f"{name} sends", lambda name=name: page.evaluate(sent) == [name])
        page.page.select_option("#speaker", index=1)
        page.wait("the loudspeaker", "picture.sinkId === document.getElementById('speaker').value && picture.sinkId !== ''")
        assert page.evaluate("app.dataset.talk") == "talking" and page.faults == []


def test_a_refused_microphone_is_told_and_can_be_allowed(device: Start, tmp_path: Path) -> None:
    """Who refuses it reads what to do; the turn is not taken, and once it is allowed the next press talks."""
    one = device()
    with CarefulChromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#talk")
        wait_for("what to do", lambda: "Microphone not allowed" in page.state_line() and "Allow it in the browser's settings" in page.state_line())
        page.wait_data(talk="idle", state="live")
        page.click("#camera")
        wait_for("the same for the camera", lambda: "Camera not allowed" in page.state_line())
        assert page.page.get_attribute("#camera", "aria-pressed") == "false" and not page.page.is_visible("#self")
        assert "talker's media" not in one.log() and "turn ends" not in one.log()
        page.page.context.grant_permissions(["microphone"])
        page.start_talk()
        page.end_talk()


# --- keyboard and screen reader ---


def focused(page: ChromiumPage) -> str:
    return str(page.evaluate("document.activeElement.id"))


def tab_to(page: ChromiumPage, wanted: str) -> None:
    """Presses Tab until the control has the focus."""
    for _ in range(40):
        if focused(page) == wanted:
            return
        page.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {wanted}")


def test_tab_goes_through_every_control_of_the_bar(device: Start, tmp_path: Path) -> None:
    """In the order in which they stand, back in the other direction, and each shows that it has the focus."""
    one = device("--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.page.locator("#owner-toggle").wait_for(state="visible")
        shown = page.evaluate("[...document.querySelectorAll('#bar :is(button, input, select, a)')].filter((one) => one.checkVisibility()).map((one) => one.id)")
        assert sorted(shown) == sorted(CONTROLS)
        page.evaluate("document.activeElement.blur()")
        tab_to(page, CONTROLS[0])
        passed = []
        for _ in CONTROLS:
            passed.append(focused(page))
            ring = page.evaluate("(({ outlineStyle, outlineWidth }) => outlineStyle === 'none' ? 0 : parseFloat(outlineWidth))(getComputedStyle(document.activeElement))")
            assert ring >= 2, f"{passed[-1]} does not show the focus"
            page.page.keyboard.press("Tab")
        assert passed == CONTROLS
        left = page.evaluate(f"{CONTROLS}.map((id) => document.getElementById(id).getBoundingClientRect().left)")
        assert left == sorted(left), dict(zip(CONTROLS, left))
        page.page.keyboard.press("Shift+Tab")
        assert focused(page) == CONTROLS[-1]
        # The sheet comes after the control that opens it, before Tab leaves the bar.
        page.page.focus("#settings-toggle")
        page.page.keyboard.press("Enter")
        page.wait("the sheet", "!document.getElementById('settings').hidden")
        tab_to(page, "microphone")
        page.page.keyboard.press("Escape")
        page.wait("no sheet", "document.getElementById('settings').hidden")
        assert focused(page) == "settings-toggle"


def test_escape_closes_what_was_opened_last(device: Start, tmp_path: Path) -> None:
    """One thing at a press, wherever the focus is; a dialog by itself alone."""
    one = device()
    opened = "['stats', 'owner', 'settings'].filter((id) => document.getElementById(id)?.hidden === false)"
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, viewport={"width": 1440, "height": 900})  # room for all of them
        escape = lambda: page.page.keyboard.press("Escape")  # noqa: E731
        page.click("#stats-toggle")
        page.click("#owner-toggle")
        page.wait("the panel", "app.dataset.panel !== undefined")
        page.click("#settings-toggle")
        page.evaluate("document.activeElement.blur()")
        assert page.evaluate(opened) == ["stats", "owner", "settings"]
        escape()
        assert page.evaluate(opened) == ["stats", "owner"] and focused(page) == "settings-toggle"
        escape()
        assert page.evaluate(opened) == ["stats"]
        page.click("#recordings-open")
        page.wait("the list", "document.getElementById('recordings').open")
        escape()
        page.wait("no list", "!document.getElementById('recordings').open")
        assert "stats" in page.evaluate(opened)
        escape()
        escape()
        assert page.evaluate(opened) == [] and page.page.get_attribute("#stats-toggle", "aria-expanded") == "false"


#: What a press does to each control: true after an odd number of presses.
PRESSED = {
    "mute": "app.dataset.sound === 'muted'",
    "camera": "!document.getElementById('self').hidden",
    "stats-toggle": "!document.getElementById('stats').hidden",
    "settings-toggle": "!document.getElementById('settings').hidden",
    "fullscreen": "document.fullscreenElement !== null",
    "owner-toggle": "app.dataset.panel !== undefined",
    "record": "document.getElementById('recording').textContent === 'Recording'",
}


def test_enter_and_space_work_every_control(device: Start, tmp_path: Path) -> None:
    """Reached by Tab, on by one of the keys and off by the other; the slider by its arrows."""
    one = device("--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.wait_data(sound="on")
        for control, on in PRESSED.items():
            for keys in (("Enter", "Space"), ("Space", "Enter")) if control != "record" else (("Enter", "Space"),):
                for turn, key in enumerate(keys):
                    # The button to record takes one wish at a time.
                    page.wait(f"{control} at hand", f"!document.getElementById('{control}').disabled")
                    tab_to(page, control)
                    page.page.keyboard.press(key)
                    told = f"(one => one.getAttribute('aria-pressed') ?? one.getAttribute('aria-expanded'))(document.getElementById('{control}'))"
                    wanted = f"{on} && {told} === 'true'" if turn == 0 else f"!({on}) && {told} === 'false'"
                    page.wait(f"{control} by {key}", wanted)
        tab_to(page, "talk")
        page.page.keyboard.press("Enter")
        page.wait_data(talk="talking")
        page.page.keyboard.press("Enter")
        page.wait_data(talk="idle")
        tab_to(page, "volume")
        page.page.keyboard.press("Home")
        page.wait("no sound", "document.getElementById('picture').volume === 0")
        for _ in range(3):
            page.page.keyboard.press("ArrowRight")
        page.wait("some", "document.getElementById('picture').volume === 0.03")


def test_a_password_is_entered_by_keyboard_alone(device: Start, tmp_path: Path) -> None:
    one = device()
    assert one.command("passwd", text="a horse, a battery\n").returncode == 0
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(view="sign-in")
        tab_to(page, "password")
        page.page.keyboard.type("a horse, a battery")
        page.page.keyboard.press("Enter")
        page.wait_data(view="call", state="live")


def nameless(page: ChromiumPage) -> list[str]:
    """Controls that a screen reader cannot name."""
    session = page.page.context.new_cdp_session(page.page)
    try:
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    finally:
        session.detach()
    kinds = {"button", "slider", "combobox", "textbox", "link", "checkbox", "radio", "searchbox", "spinbutton", "switch", "menuitem", "ComboBoxSelect"}
    controls = [node for node in nodes if not node.get("ignored") and node["role"]["value"] in kinds]
    assert len(controls) >= 6, "no tree"
    return [f"{node['role']['value']} {node.get('backendDOMNodeId')}" for node in controls if not str(node.get("name", {}).get("value", "")).strip()]


def test_every_control_has_a_name_and_a_role(device: Start, tmp_path: Path) -> None:
    """What a screen reader says of each, in the bar, the sheet, the panel and before the sign-in."""
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "bell.wav").write_bytes(b"only its name is shown")
    one = device("--picture", "overlay", "--clips", str(clips), "--sound", f"file:{tmp_path / 'heard.wav'}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        role = page.page.get_by_role
        bar = page.page.locator("#bar")
        for name in ("Camera", "Talk", "Mute", "Record", "Statistics", "Panel", "Settings", "Full screen"):
            assert bar.get_by_role("button", name=name, exact=True).count() == 1, name
        assert bar.get_by_role("slider", name="Volume", exact=True).count() == 1
        assert bar.get_by_role("group", name="Picture and sound").count() == 1
        assert role("region", name="Call", exact=True).count() == 1
        assert nameless(page) == []
        # States are told with the control, and the state line by itself.
        assert role("button", name="Mute", exact=True, pressed=False).count() == 1
        assert role("button", name="Settings", exact=True, expanded=False).count() == 1
        assert role("status").filter(has_text="Live").count() == 1
        page.start_talk()
        assert role("button", name="Talking", exact=True, pressed=True).count() == 1
        assert role("status").filter(has_text="The device hears you").count() == 1
        described = page.evaluate("document.getElementById(document.getElementById('talk').getAttribute('aria-describedby')).textContent")
        assert described, "Talk tells nothing of what a press does"
        page.end_talk()
        page.click("#settings-toggle")
        page.wait("the clips", "document.getElementById('clip-row').checkVisibility()")
        for kind, name in (("combobox", "Microphone"), ("combobox", "Speaker"), ("combobox", "Clip"), ("textbox", "Say to those who watch"),
                           ("button", "Say"), ("button", "Play"), ("link", "Trust this device")):
            assert role(kind, name=name, exact=True).count() == 1, name  # type: ignore[arg-type]
        assert role("button", name="Settings", exact=True, expanded=True).count() == 1
        assert nameless(page) == []
        page.page.keyboard.press("Escape")
        page.click("#owner-toggle")
        page.wait("the panel", "app.dataset.panel !== undefined")
        assert nameless(page) == []


def test_record_is_known_by_its_red_dot_and_ends_by_its_square(device: Start, tmp_path: Path) -> None:
    """What the eye sees, the tooltip and the name say the same."""
    one = device()
    seen = """(() => {
      const button = document.getElementById('record');
      const [use] = [...button.querySelectorAll('use')].filter((one) => one.checkVisibility());
      const core = document.querySelector(`${use.getAttribute('href')} .core`);
      return [core.tagName, getComputedStyle(core).fill, button.title, button.ariaLabel, button.ariaPressed];
    })()"""
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, color_scheme="light")
        assert page.evaluate(seen) == ["circle", "rgb(194, 31, 47)", "Record this call", "Record", "false"]
        page.click("#record")
        page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        assert page.evaluate(seen) == ["rect", "rgb(194, 31, 47)", "Stop recording", "Record", "true"]


# --- dark and light ---

# Each text of an element and its inside that can be read, with the contrast that it has to what is behind it; and the element's own colours.
CONTRASTS = r"""(root) => {
  const numbers = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, below) => top.rgb.map((value, at) => value * top.a + below[at] * (1 - top.a));
  const ground = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const layer = numbers(getComputedStyle(at).backgroundColor);
      layers.push(layer);
      if (layer.a === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, colour) => {
    const behind = ground(one);
    const [low, high] = [light(over(numbers(colour), behind)), light(behind)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = {};
  const top = document.querySelector(root);
  for (const one of [top, ...top.querySelectorAll("*")]) {
    if (!one.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const own = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join(" ").trim();
    const text = one instanceof HTMLSelectElement ? one.selectedOptions[0]?.text : one instanceof HTMLOptionElement ? "" : own;
    if (text) found[text] = contrast(one, getComputedStyle(one).color);
    else if (one.matches("button.tool")) found[`sign of ${one.id}`] = contrast(one, getComputedStyle(one).color);
  }
  const { backgroundColor, color } = getComputedStyle(top);
  return { found, colours: [backgroundColor, color] };
}"""


def readable(page: ChromiumPage, root: str) -> list[str]:
    """Every text in there has enough contrast; the colours of the element itself."""
    # Colours change by degrees.
    page.evaluate("Promise.all(document.getAnimations().filter((one) => one.effect.getTiming().iterations === 1).map((one) => one.finished.catch(() => 0)))")
    got = page.page.evaluate(CONTRASTS, root)
    assert got["found"], f"nothing to read in {root}"
    poor = {text: round(value, 2) for text, value in got["found"].items() if value < 4.5}
    assert not poor, poor
    return list(got["colours"])


def test_dark_and_light(device: Start, tmp_path: Path) -> None:
    """The bar follows the system's scheme, and every word in it can be read in both: idle, talking, while another talks, waiting, and in the sheet."""
    one = device("--picture", "overlay")
    colours: dict[str, list[str]] = {}
    with Chromium(tmp_path / "home", one.ca) as chromium:
        other = chromium.live(one.url)
        for scheme in ("light", "dark"):
            page = chromium.live(one.url, color_scheme=scheme)
            page.page.mouse.move(600, 100)
            colours[scheme] = readable(page, "#bar")
            page.start_talk()
            page.page.mouse.move(600, 100)
            readable(page, "#bar")
            page.end_talk()
            other.start_talk()
            page.wait_data(talk="busy")
            page.page.mouse.move(600, 100)
            readable(page, "#bar")
            page.click("#talk")
            page.wait_data(talk="waiting")
            page.page.mouse.move(600, 100)
            readable(page, "#bar")
            page.click("#talk")
            page.wait_data(talk="busy")
            other.end_talk()
            page.wait_data(talk="idle")
            page.click("#settings-toggle")
            page.page.mouse.move(600, 100)
            readable(page, "#settings")
            page.click("#stats-toggle")
            readable(page, "#stats")
            page.page.context.close()
    assert colours["light"][0] != colours["dark"][0] and colours["light"][1] != colours["dark"][1], colours
    lightness = {scheme: [np.mean([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) for colour in pair] for scheme, pair in colours.items()}
    assert lightness["light"][0] > lightness["light"][1] and lightness["dark"][0] < lightness["dark"][1], lightness
