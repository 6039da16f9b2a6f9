"""Files as sources: the real clip moves and sounds, picture and sound stay together, a loop has no visible stop.

How the offset is measured: a made clip flashes white and beeps at the same instants, each second. The browser says when
a frame with a flash is displayed (`requestVideoFrameCallback`, `expectedDisplayTime`) and at which sample the beep begins in the
sound that it plays (AudioWorklet; `getOutputTimestamp` turns its time into the page's clock). Error: a frame lasts 33 ms, and a tap
by Web Audio hears up to some 30 ms later than the speaker; both are a fraction of the 80 ms that are allowed.
Beside it stands what the browser itself estimates, from the device's sender reports, to be playing of either stream.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from browser import Chromium, ChromiumPage
from device import Device, wait_for

Start = Callable[..., Device]
ALLOWED_MS = 80.0

# Keeps every peer connection of the page within reach.
KEEP_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
"""

# Notes each displayed frame (time, media time, mean luma, fingerprint) and each 5 ms of sound (time, loudest sample).
OBSERVE = """(async () => {
  const video = document.getElementById("picture");
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 36 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = (window.seen = { frames: [], sound: [] });
  const look = (_, frame) => {
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    let sum = 0, print = 0;
    for (let at = 0; at < data.length; at += 4) { sum += data[at + 1]; print = (print * 31 + data[at] + 7 * data[at + 1] + 3 * data[at + 2]) | 0; }
    seen.frames.push([frame.expectedDisplayTime, frame.rtpTimestamp ?? 0, sum / (64 * 36), print]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const code = `registerProcessor("ear", class extends AudioWorkletProcessor {
    constructor() { super(); this.notes = []; this.loudest = 0; this.count = 0; }
    process([[left]]) {
      for (let at = 0; at < 128; at++) {
        this.loudest = Math.max(this.loudest, Math.abs(left ? left[at] : 0));
        if (++this.count === Math.round(sampleRate / 200)) {
          this.notes.push([currentTime + at / sampleRate, this.loudest]);
          this.loudest = this.count = 0;
        }
      }
      if (this.notes.length >= 20) this.port.postMessage(this.notes.splice(0));
      return true;
    }
  })`;
  const audio = new AudioContext();
  await audio.resume();
  await audio.audioWorklet.addModule(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  const ear = new AudioWorkletNode(audio, "ear", { numberOfInputs: 1, numberOfOutputs: 1 });
  ear.port.onmessage = ({ data }) => {
    const { contextTime, performanceTime } = audio.getOutputTimestamp();
    for (const [at, loudest] of data) seen.sound.push([performanceTime + 1000 * (at - contextTime), loudest]);
  };
  const silent = new GainNode(audio, { gain: 0 });
  audio.createMediaStreamSource(video.srcObject).connect(ear).connect(silent).connect(audio.destination);
})()"""

# How far, in ms, the picture being played is ahead of the sound being played, on the device's clock.
PLAYOUT = """(async () => {
  for (const connection of window.connections) {
    const found = {};
    for (const entry of (await connection.getStats()).values()) {
      if (entry.type === "inbound-rtp" && entry.estimatedPlayoutTimestamp) found[entry.kind] = entry.estimatedPlayoutTimestamp;
    }
    if (found.audio && found.video) return [found.video - found.audio];
  }
  return null;
})()"""


def make_clip(path: Path, seconds: int, picture: str, sound: str) -> Path:
    """An MP4 with H.264 and AAC out of ffmpeg's generators."""
    words = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, "-t", str(seconds)]
    words += ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "128k", str(path)]
    subprocess.run(words, check=True, timeout=120)
    return path


def watch(chromium: Chromium, one: Device) -> ChromiumPage:
    """The page, live. The observer's worklet is a blob, which the page's own policy rightly forbids."""
    page = chromium.open(one.url, KEEP_CONNECTIONS, bypass_csp=True)
    page.wait_data(state="live", sound="on")
    return page


def observe(page: ChromiumPage, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames (ms, RTP time, luma, fingerprint) and sound (ms, loudest) of so many seconds, without the first half second."""
    page.evaluate(OBSERVE)
    began = time.monotonic()
    wait_for("the time of observation", lambda: time.monotonic() - began > seconds + 0.5, seconds + 5)
    seen: dict[str, Any] = page.evaluate("window.seen")
    frames, sound = np.array(seen["frames"]), np.array(seen["sound"])
    assert len(frames) > 5 * seconds and len(sound) > 100 * seconds, f"{len(frames)} frames, {len(sound)} bits of sound in {seconds} s"
    return frames[frames[:, 0] > frames[0, 0] + 500], sound[sound[:, 0] > sound[0, 0] + 500]


def onsets(times: np.ndarray, loud: np.ndarray, pause_ms: float = 300) -> list[float]:
    """Times at which something begins after a pause."""
    found: list[float] = []
    last = -np.inf
    for at in times[loud]:
        if at - last > pause_ms:
            found.append(float(at))
        last = at
    return found[1:]


def playout_offset(page: ChromiumPage) -> float:
    """Median of what the browser estimates over two seconds, ms; above 0: the picture is ahead."""
    wait_for("sender reports of both streams", lambda: page.evaluate(PLAYOUT), 20)
    values: list[float] = []
    def sample() -> bool:
        values.extend(page.evaluate(PLAYOUT) or [])
        return len(values) >= 20
    wait_for("20 estimates", sample, 10)
    return float(np.median(values))


def test_real_clip(device: Start, tmp_path: Path, clip: Path) -> None:
    """A 720p film clip: the picture moves, sound is there, both play together."""
    one = device("--video", f"file:{clip}", "--audio", f"file:{clip}", picture_size="1280x720")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = watch(chromium, one)
        frames, sound = observe(page, 4)
        assert len(set(frames[:, 3])) > 0.5 * len(frames), "most pictures are the same"
        power = 10 * np.log10(np.mean(sound[:, 1] ** 2) + 1e-20)
        assert power > -50, f"the sound is at {power:.0f} dB"
        assert page.evaluate("[picture.videoWidth, picture.videoHeight]") == [1280, 720]
        offset = playout_offset(page)
        assert abs(offset) < ALLOWED_MS, f"picture {offset:.0f} ms ahead"


def test_picture_and_sound_together(device: Start, tmp_path: Path) -> None:
    """Flash and beep of one instant are seen and heard within 80 ms of each other."""
    made = make_clip(
        tmp_path / "flash.mp4", 10,
        "color=c=black:s=640x360:r=30,drawbox=c=white:t=fill:enable='lt(mod(t,1),0.1)'",
        "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.1)':s=48000",
    )
    one = device("--video", f"file:{made}", "--audio", f"file:{made}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = watch(chromium, one)
        estimated = playout_offset(page)
        frames, sound = observe(page, 7)
    flashes, beeps = onsets(frames[:, 0], frames[:, 2] > 128), onsets(sound[:, 0], sound[:, 1] > 0.1)
    offsets = [min((beep - flash for beep in beeps), key=abs) for flash in flashes if beeps]
    print(f"sound after picture, ms: {[round(one) for one in offsets]}; browser's estimate {estimated:.0f}")
    assert len(offsets) >= 4, f"flashes {flashes}, beeps {beeps}"
    assert abs(float(np.median(offsets))) < ALLOWED_MS, f"sound {offsets} ms after the picture"
    assert abs(estimated) < ALLOWED_MS


def test_loop_has_no_visible_stop(device: Start, tmp_path: Path) -> None:
    """A clip of two seconds, watched for eight: neither the picture nor the sound stands still where it begins anew."""
    made = make_clip(tmp_path / "short.mp4", 2, "testsrc2=s=640x360:r=30", "sine=frequency=500:sample_rate=48000")
    one = device("--video", f"file:{made}", "--audio", f"file:{made}")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = watch(chromium, one)
        frames, sound = observe(page, 8)
    changed = frames[np.r_[True, np.diff(frames[:, 3]) != 0]]
    # RTP time is the device's own: a busy test machine that displays late is not a stop of the device.
    gaps = np.diff(np.unwrap(changed[:, 1], period=2**32)) / 90
    loud = sound[sound[:, 1] > 0.02][:, 0]
    pauses = np.diff(loud)
    print(f"longest still picture {gaps.max():.0f} ms, longest silence {pauses.max():.0f} ms")
    assert gaps.max() < 150, f"the picture stood still for {gaps.max():.0f} ms"
    assert pauses.max() < 150, f"silence of {pauses.max():.0f} ms"
