"""Sources and codecs other than the default ones, as viewers get them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from browser import KEEP_CONNECTIONS, Chromium
from device import Device, wait_for
from firefox import Firefox
from peer import Peer
from stock import Launch, samples, signaller, source

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
# The strongest frequency of each channel that the page's picture comes with.
SIDES = """async () => {
  const audio = new AudioContext(), source = audio.createMediaStreamSource(document.querySelector('#picture').srcObject);
  const splitter = audio.createChannelSplitter(2), sides = [0, 1].map(() => new AnalyserNode(audio, { fftSize: 16384, smoothingTimeConstant: 0 }));
  source.connect(splitter);
  sides.forEach((side, channel) => splitter.connect(side, channel));
  await new Promise((done) => setTimeout(done, 1000));
  const strongest = (side) => {
    const bins = new Float32Array(side.frequencyBinCount);
    side.getFloatFrequencyData(bins);
    return (bins.indexOf(bins.reduce((a, b) => Math.max(a, b))) * audio.sampleRate) / side.fftSize;
  };
  const found = sides.map(strongest);
  await audio.close();
  return found;
}"""
#: Left and right half of the picture that is shown, red, green, blue.
HALVES = ((200, 40, 40), (40, 60, 200))


def write_image(path: Path) -> Path:
    """A picture in two colours, in the format that its name ends with."""
    left, right = ("0x" + "".join(f"{part:02x}" for part in half) for half in HALVES)
    graph = f"color={left}:s=480x540:d=1[a];color={right}:s=480x540:d=1[b];[a][b]hstack"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-filter_complex", graph, "-frames:v", "1", str(path)], check=True, timeout=30)
    return path


@pytest.mark.parametrize("name", ["still.png", "still.jpg"])
def test_still_image(device: Start, tmp_path: Path, name: str) -> None:
    """The picture of a file is what a browser shows: its colours, at their places."""
    one = device("--video", f"image:{write_image(tmp_path / name)}", "--audio", "silence")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)

        def shown() -> bool:
            # The image is 16:9 too: no border.
            halves = (page.colour(0.1, 0.2, 0.2, 0.2), page.colour(0.7, 0.2, 0.2, 0.2))
            return all(np.abs(half - np.array(wanted)).max() < 25 for half, wanted in zip(halves, HALVES))

        wait_for("the image's colours", shown, 15)


@pytest.mark.parametrize("flags", [("--video",), ("--audio",), ("--video", "--audio")], ids=["picture alone", "sound alone", "both"])
def test_a_short_clip_of_both_whatever_is_taken_of_it(device: Start, launch: Callable[[str], Launch], tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Read whole, several times over, before its first end is shown; the track that nobody takes ends when it likes."""
    clip = tmp_path / "short.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=320x180:r=30:d=2", "-f", "lavfi", "-i", "sine=d=2", "-c:v", "libx264",
                    "-c:a", "aac", str(clip)], check=True, timeout=60)
    one = device(*(word for flag in flags for word in (flag, f"file:{clip}")))
    heard = tmp_path / "heard.wav"
    viewer = launch(source(signaller(one.signalling, ca=one.ca), wav=heard))
    # Four of its lengths.
    viewer.wait_for_frames(8 * 25)
    wait_for("as much sound", lambda: len(samples(heard)) > 7 * 48_000)
    assert "source failed" not in one.log()


def test_text_to_speech(device: Start, launch: Callable[[str], Launch], tmp_path: Path) -> None:
    """A text is heard, again and again, with a pause between: a voice, which a tone or noise is not."""
    one = device("--audio", "speech:The quick brown fox jumps over the lazy dog", "--video", "test")
    heard = tmp_path / "speech.wav"
    launch(source(signaller(one.signalling, ca=one.ca), wav=heard))

    def spoken() -> bool:
        sound = samples(heard)
        blocks = sound[: len(sound) // 4800 * 4800].reshape(-1, 4800)
        loud = np.sqrt((blocks**2).mean(axis=1)) > 0.02
        turns = np.flatnonzero(np.diff(loud.astype(int)) == 1)
        # Speech, a second or more of silence, and speech again.
        gaps = [int((~loud[a:b]).sum()) for a, b in zip(turns, turns[1:])]
        return loud.sum() > 20 and any(gap >= 10 for gap in gaps)

    wait_for("the text twice", spoken, 30)


def test_stereo(device: Start, tmp_path: Path) -> None:
    """What is left and right in a file is left and right in a browser."""
    clip, sides = tmp_path / "sides.wav", (500, 900)
    tones = [f"sine=f={hz}:r=48000:d=4[{side}]" for hz, side in zip(sides, "lr")]
    subprocess.run(["ffmpeg", "-v", "error", "-filter_complex", ";".join([*tones, "[l][r]join=inputs=2:channel_layout=stereo"]), str(clip)], check=True, timeout=60)
    one = device("--audio", f"file:{clip}", "--video", "test")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)

        def heard() -> bool:
            return [round(hz / 20) * 20 for hz in page.evaluate(SIDES)] == list(sides)

        wait_for("each side's tone", heard, 20)


def test_h264(device: Start, launch: Callable[[str], Launch], tmp_path: Path) -> None:
    """H.264 by choice: Chromium shows it moving, a second viewer that comes later and a stock client get it as well."""
    one = device("--video-codec", "h264")
    with Peer(one) as peer:
        _, offer = peer.watch(peer.device_id())
    # Constrained baseline, which every browser with H.264 plays: the profile's byte, and two of its constraints.
    profiles = re.findall(r"profile-level-id=([0-9a-fA-F]{6})", offer)
    assert profiles and all(int(one[:2], 16) == 66 and int(one[2:4], 16) & 0xC0 == 0xC0 for one in profiles), profiles
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        assert "profile-level-id=42" in page.evaluate("connections[0].remoteDescription.sdp").lower()
        first = wait_for("a frame with a number", lambda: n if (n := page.frame()) and n > 0 else None)
        wait_for("the counter 20 frames on", lambda: (page.frame() or 0) >= first + 20, 10)
        page.wait_tone(440)
        page.click("#stats-toggle")
        wait_for("the codec in the statistics", lambda: "h264" in page.evaluate("document.querySelector('[data-stat=codec]').textContent").lower())
        later = chromium.live(one.url)
        wait_for("a frame at the second viewer", lambda: (later.frame() or 0) > 0)
        launch(source(signaller(one.signalling, ca=one.ca))).wait_for_frames(30)


def test_browser_without_the_codec_is_told(device: Start, tmp_path: Path) -> None:
    """Firefox has no H.264 decoder of its own: its page says what is the matter, and what to do."""
    one = device("--video-codec", "h264")
    with Firefox(tmp_path / "firefox", one.ca) as firefox:
        page = firefox.open(one.url)
        wait_for("the reason", lambda: "does not play what the device sends (h264" in page.state_line(), 20)
        one.wait_for_log("refuses one of the media")
