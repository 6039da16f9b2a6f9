"""A call in Chromium, which trusts the CA as a person's does: picture, sound, talking, the camera in overlay and recording."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from browser import KEEP_CONNECTIONS, Chromium, Page, strongest_hz, write_tone
from device import Device, wait_for

Start = Callable[..., Device]
VOICE_HZ = 1000.0


def ffprobe(path: Path) -> list[dict[str, Any]]:
    """The file's streams, every frame of them decoded and counted."""
    words = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, f"{path.name} does not decode: {done.stderr}"
    return json.loads(done.stdout)["streams"]


def packet_times(path: Path, kind: str) -> list[float]:
    """Times of a stream's packets, seconds; ``kind`` is ``v`` or ``a``."""
    words = ["ffprobe", "-v", "error", "-select_streams", kind, "-show_entries", "packet=pts_time", "-of", "csv=p=0", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return [float(line.strip(",")) for line in done.stdout.split()]


def decoded_sound(recording: Path, target: Path) -> Path:
    """The recording's sound as WAV."""
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(recording), "-vn", "-ac", "1", "-ar", "48000", str(target)], check=True, timeout=60)
    return target


def wait_corner(page: Page, changed: bool, background: np.ndarray) -> None:
    """Waits until the overlay's place differs (or not) from the background in five looks one after the other: the ball only passes."""
    def seen() -> bool:
        for _ in range(5):
            if (np.abs(page.corner() - background).max() > 40) != changed:
                return False
            time.sleep(0.08)
        return True
    wait_for(f"corner {'with the camera' if changed else 'as before'}", seen, 15)


def test_watch(device: Start, tmp_path: Path) -> None:
    """The picture moves, its frame counter advances, the tone is heard at its pitch, the figures are plausible; nobody else is asked."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url, KEEP_CONNECTIONS)
        page.wait_data(state="live", sound="on")
        page.wait_frame()
        first = wait_for("a frame with a number", lambda: n if (n := page.frame()) and n > 0 else None)
        wait_for("the counter 20 frames on", lambda: (page.frame() or 0) >= first + 20, 10)
        page.wait_tone(440)
        page.click("#stats-toggle")
        figures = wait_for("figures", lambda: plausible(page), 10)
        assert page.faults == [], figures
        assert ice_servers(page) == [[]], "one connection, and no server of anybody's"


def ice_servers(page: Page) -> list[list[object]]:
    """The STUN and TURN servers of each of the page's connections; the page has kept them (KEEP_CONNECTIONS)."""
    return page.evaluate("connections.map((one) => one.getConfiguration().iceServers)")


def plausible(page: Page) -> dict[str, str] | None:
    """The statistics panel, once every figure in it can be true."""
    shown = page.evaluate("Object.fromEntries([...document.querySelectorAll('[data-stat]')].map((one) => [one.dataset.stat, one.textContent]))")
    number = {name: float(text.split()[0]) for name, text in shown.items() if text[:1].isdigit()}
    ranges = {"fps": (5, 40), "bitrate": (20, 4000), "rtt": (0, 300), "loss": (0, 5), "jitter": (0, 500)}
    good = all(low <= number.get(name, -1) <= high for name, (low, high) in ranges.items())
    codecs = {name.strip().lower() for name in shown["codec"].split(",")}
    return shown if good and shown["resolution"] == "640 × 360" and codecs == {"vp8", "opus"} else None


def test_talk_is_heard_and_ducks(device: Start, tmp_path: Path) -> None:
    """The browser's microphone arrives in the device's sound sink; meanwhile the device's own sound is 20 dB softer."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}", "--echo", "duck")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        page.wait_tone(440)
        before = page.level()
        page.start_talk()
        found = wait_for("two seconds of the voice", lambda: hz if (hz := strongest_hz(heard)) and abs(hz - VOICE_HZ) < 10 else None, 15)
        during = page.level()
        page.end_talk()
        wait_for("the tone as loud as before", lambda: abs(page.sound()[1] - before) < 2, 10)
        assert 17 < before - during < 23, f"ducked by {before - during:.1f} dB ({before:.1f} to {during:.1f}); voice {found:.1f} Hz"


def test_camera_in_overlay_and_recording(device: Start, tmp_path: Path) -> None:
    """The camera appears in the corner and in a file that decodes; it goes with the camera and with the talk."""
    folder = tmp_path / "recordings"
    one = device("--picture", f"overlay,record:{folder}")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        page.wait_frame()
        background = page.colour(0.02, 0.5, 0.05, 0.05)
        wait_corner(page, False, background)
        page.start_talk()
        page.click("#camera")
        wait_corner(page, True, background)
        began = time.monotonic()
        wait_for("three seconds of camera", lambda: time.monotonic() - began > 3)
        page.click("#camera")
        wait_corner(page, False, background)
        page.click("#camera")
        wait_corner(page, True, background)
        page.end_talk()
        wait_corner(page, False, background)
        one.wait_for_log("recording the talker")
    files = sorted(folder.glob("*.mkv"))
    with_picture = [file for file in files if any(one["codec_type"] == "video" for one in ffprobe(file))]
    assert with_picture, f"none of {[file.name for file in files]} has a picture"
    video, audio = (next(one for one in ffprobe(with_picture[0]) if one["codec_type"] == kind) for kind in ("video", "audio"))
    assert (video["codec_name"], audio["codec_name"]) == ("vp8", "opus")
    seconds = packet_times(with_picture[0], "v")[-1] - packet_times(with_picture[0], "v")[0]
    assert seconds > 2.5 and int(video["nb_read_frames"]) > 8 * seconds
    hz = strongest_hz(decoded_sound(with_picture[0], tmp_path / "recorded.wav"))
    assert hz and abs(hz - VOICE_HZ) < 10


def test_recording_survives_a_power_cut(device: Start, tmp_path: Path) -> None:
    """Killed while recording: the file decodes, and at most the last second is missing."""
    folder = tmp_path / "recordings"
    one = device("--picture", f"record:{folder}")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        page.click("#camera")
        page.start_talk()
        one.wait_for_log("recording the talker")
        began = time.monotonic()
        wait_for("five seconds", lambda: time.monotonic() - began > 5)
        one.kill()
        recorded = time.monotonic() - began
    file = max(folder.glob("*.mkv"), key=lambda path: path.stat().st_size)
    kinds = {stream["codec_type"]: int(stream["nb_read_frames"]) for stream in ffprobe(file)}
    assert kinds["video"] > 20 and kinds["audio"] > 100
    for kind in ("v", "a"):
        times = packet_times(file, kind)
        assert recorded - times[-1] < 1.0, f"{kind}: {times[0]} to {times[-1]} of {recorded:.1f} s"


def test_recordings_keep_to_their_space_during_a_talk(device: Start, tmp_path: Path) -> None:
    """One long talk does not outgrow the limit: it goes on in new files, the oldest of them go, and the rest decode."""
    folder = tmp_path / "recordings"
    one = device("--picture", f"record:{folder}", "--record-max-size", "1")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        page = chromium.live(one.url)
        page.click("#camera")
        page.start_talk()
        one.wait_for_log("removed an old recording", 90)
        kept = sum(file.stat().st_size for file in folder.glob("*.mkv"))
        page.end_talk()
    # Once it has stopped, every file is closed.
    assert one.stop() == 0
    # The limit, and what a browser can send in the second between two looks.
    assert 300_000 < kept < 2_000_000, kept
    for file in folder.glob("*.mkv"):
        assert ffprobe(file)


def test_tap_for_sound(device: Start, tmp_path: Path) -> None:
    """Where the browser forbids sound without a tap, the page asks for one, and it helps."""
    one = device()
    with Chromium(tmp_path / "home", one.ca, autoplay=False, flags=("--autoplay-policy=document-user-activation-required",)) as chromium:
        page = chromium.open(one.url)
        data = "JSON.stringify({...document.getElementById('app').dataset, tap: !document.getElementById('tap-for-sound').hidden})"
        def state() -> dict[str, Any]:
            return json.loads(page.evaluate_without_gesture(data))
        wait_for("a live picture", lambda: state()["state"] == "live", 20)
        assert state()["sound"] == "blocked" and state()["tap"]
        page.click("#tap-for-sound")
        page.wait_data(sound="on")
        page.wait_tone(440)
        assert not state()["tap"]


def test_stock_page(device: Start, tmp_path: Path) -> None:
    """The page of the gstwebrtc-api package shows the device's stream."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(f"{one.url}gstwebrtc-api/", KEEP_CONNECTIONS)
        page.wait("the device in the list", "document.querySelector('#remote-streams > li > .button')?.textContent.trim() === 'Duplex'")
        page.click("#remote-streams > li > .button")
        page.wait_frame()
        first = page.frame()
        assert first and first > 0
        wait_for("the counter 20 frames on", lambda: (page.frame() or 0) >= first + 20, 10)
        page.wait_tone(440)
        # As it comes the package asks a public STUN server.
        assert ice_servers(page) == [[]]


# The stock page takes the camera alone; here it takes the microphone, too.
WITH_MICROPHONE = """
const capture = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => capture({ ...wanted, audio: true });
"""


def test_stock_page_talks(device: Start, tmp_path: Path) -> None:
    """Its button to capture takes the turn to talk: camera in the corner, microphone in the device's sound sink, until it is pressed again."""
    heard = tmp_path / "heard.wav"
    one = device("--sound", f"file:{heard}", "--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ)) as chromium:
        viewer = chromium.live(one.url)
        viewer.wait_frame()
        background = viewer.colour(0.02, 0.5, 0.05, 0.05)
        wait_corner(viewer, False, background)
        stock = chromium.open(f"{one.url}gstwebrtc-api/", WITH_MICROPHONE)
        stock.wait("signalling", "!['', 'none'].includes(document.querySelector('#capture .client-id').textContent)")
        stock.click("#capture-button")
        wait_for("two seconds of the voice", lambda: (hz := strongest_hz(heard)) and abs(hz - VOICE_HZ) < 10, 30)
        viewer.wait_data(talk="busy")
        wait_corner(viewer, True, background)
        stock.click("#capture-button")
        viewer.wait_data(talk="idle")
        wait_corner(viewer, False, background)
