"""The whole call with the appliance: Chromium, which trusts the board's own authority, watches, listens, talks and shows itself.

The talker's voice comes out of a USB speaker at the board, an ALSA device like any other; what the speaker is given is a file here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import numpy as np
import pytest
from strategy import PASSWORD

from browser import Chromium, ChromiumPage, write_tone
from device import wait_for

pytestmark = pytest.mark.lg_feature(["appliance", "lan", "usb"])

RATE = 48_000
VOICE_HZ = 1000.0
#: An emulated board on a busy machine.
PATIENCE = 180.0


@pytest.fixture
def page(serving, tmp_path: Path) -> Iterator[ChromiumPage]:  # type: ignore[no-untyped-def]
    """The page, signed in as the owner; the address is the board's name, as a person types it."""
    flags = (f"--host-resolver-rules=MAP proband.local {serving.host}",)
    with Chromium(tmp_path / "home", serving.ca, microphone=write_tone(tmp_path / "voice.wav", VOICE_HZ), flags=flags) as chromium:
        page = chromium.open("https://proband.local:8443/")
        page.patience = PATIENCE
        page.wait_data(PATIENCE, view="sign-in")
        page.page.fill("#password", PASSWORD)
        page.click("#sign-in")
        page.wait_data(PATIENCE, view="call", state="live")
        # Before the sign-in the page tried whether it may, and the browser writes down the refusal.
        page.faults.clear()
        yield page


def test_the_call(page: ChromiumPage, serving, figure) -> None:  # type: ignore[no-untyped-def]
    """One call for all of it, for each step is slow on an emulated board: picture, tone, memory, voice, camera in the picture."""
    first = wait_for("a frame with a number", lambda: number if (number := page.frame()) and number > 0 else None, PATIENCE)
    wait_for("the counter 20 frames on", lambda: (page.frame() or 0) >= first + 20, PATIENCE)
    level = page.wait_tone(440, 15, PATIENCE)
    print(f"picture moves, tone of 440 Hz at {level:.0f} dB")
    figure(memory(serving))

    def empty() -> tuple[np.ndarray] | None:
        # The ball may be at either place just then.
        colour = page.colour(0.02, 0.5, 0.05, 0.05)
        return (colour,) if difference(page, colour) < 40 else None

    background, = wait_for("a corner as the rest of the picture", empty, PATIENCE)
    # What it was given before this talk is no voice of this one.
    before = seconds(serving.speaker_file) if serving.speaker_file.exists() else 0.0
    page.start_talk(PATIENCE)
    wait_for("sound for the USB speaker", lambda: serving.speaker_file.exists() and seconds(serving.speaker_file) > before + 2, PATIENCE)
    found = wait_for("the voice from the USB speaker", lambda: hz if (hz := spoken(serving.speaker_file)) and abs(hz - VOICE_HZ) < 15 else None, PATIENCE)
    print(f"{found:.0f} Hz from the USB speaker")
    # A camera that comes late in a talk must not end it: see src/inbound/reports.rs.
    heard = seconds(serving.speaker_file)
    wait_for("half a minute of the voice", lambda: seconds(serving.speaker_file) > heard + 30, PATIENCE)
    page.click("#camera")
    wait_for("the camera in the corner", lambda: difference(page, background) > 40, PATIENCE)
    seen = page.corner()
    # Chromium's test camera moves: what is seen there changes.
    wait_for("another picture in the corner", lambda: np.abs(page.corner() - seen).max() > 10, PATIENCE, every=0.02)
    page.click("#camera")
    wait_for("the corner as before", lambda: difference(page, background) < 40, PATIENCE)
    page.click("#talk")
    page.wait_data(PATIENCE, talk="idle")
    assert page.faults == []
    assert serving.ssh("systemctl --failed --no-legend --plain") == ""


def difference(page: ChromiumPage, background: np.ndarray) -> float:
    """How far the overlay's place is from the picture's own colour."""
    return float(np.abs(page.corner() - background).max())


def seconds(path: Path) -> float:
    """How much the speaker was given."""
    return path.stat().st_size / (4 * RATE)


def spoken(path: Path) -> float | None:
    """Strongest frequency, Hz, of the last two seconds that a speaker was given; ``None`` while it is quiet or less."""
    data = path.read_bytes()[44:] if path.exists() else b""
    sound = np.frombuffer(data[: len(data) // 4 * 4], "<i2").astype(float).reshape(-1, 2)[-2 * RATE:, 0]
    if len(sound) < 2 * RATE:
        return None
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    spectrum[: int(60 * len(sound) / RATE)] = 0
    return float(spectrum.argmax() * RATE / len(sound)) if spectrum.max() > 1000 * 100 else None


def memory(board) -> str:  # type: ignore[no-untyped-def]
    """What is in use while one viewer watches."""
    said = board.ssh(
        "free -m | sed -n 2p; cat /sys/fs/cgroup/system.slice/duplex.service/memory.current /sys/fs/cgroup/system.slice/duplex.service/memory.peak;"
        " grep -E '^(Rss|Pss):' /proc/$(systemctl show -P MainPID duplex.service)/smaps_rollup")
    lines = said.splitlines()
    total, used, *_, available = lines[0].split()[1:]
    service = {name.rstrip(":"): int(size) / 1024 for name, size, _ in (line.split() for line in lines[3:])}
    assert service["Rss"] < 250, f"the service takes {service['Rss']:.0f} MiB with one viewer"
    return (f"memory with one viewer: {used} of {total} MiB in use, {available} available; the service: resident {service['Rss']:.0f} MiB, "
            f"proportional {service['Pss']:.0f}, its group {int(lines[1]) / 2**20:.0f}, at most {int(lines[2]) / 2**20:.0f}")
