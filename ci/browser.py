"""The page in a browser: what a person would see and hear, measured; and Chromium.

In: a device's address and CA, clicks. Out: frame numbers read from the picture, frequency and level of the
sound, colours of the picture's corner. Never: a switched-off certificate check, a profile of the person at the machine.
"""

from __future__ import annotations

import os
import subprocess
import time
import wave
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from playwright.sync_api import Page as PlaywrightPage

from device import wait_for

# Runs in the page. Everything is read from what the video element plays, not from the page's own statistics.
PROBE = r"""
(() => {
  if (window.probe) return;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const video = () => document.querySelector("video#picture, #remote-streams video");
  const grab = () => {
    const { videoWidth: width, videoHeight: height } = video();
    if (!width) return null;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.drawImage(video(), 0, 0);
    return { width, height };
  };
  let ears = null;
  const listen = async () => {
    const stream = video().srcObject;
    if (ears?.stream === stream) return ears;
    const audio = ears?.audio ?? new AudioContext();
    if (audio.state !== "running") await audio.resume();
    ears?.source.disconnect();
    const source = audio.createMediaStreamSource(stream);
    const analyser = new AnalyserNode(audio, { fftSize: 16384, smoothingTimeConstant: 0 });
    source.connect(analyser);
    ears = { stream, audio, source, analyser };
    return ears;
  };
  window.probe = {
    // The number in the marker strip; null without a frame, -1 when there is no strip in it.
    frame() {
      const size = grab();
      if (!size) return null;
      const cell = Math.min(16, Math.floor(size.width / 40)) & ~1;
      const line = context.getImageData(0, size.height - cell / 2, 32 * cell, 1).data;
      let sync = 0, number = 0;
      for (let bit = 0; bit < 32; bit++) {
        const one = line[4 * (bit * cell + cell / 2) + 1] > 127 ? 1 : 0;
        if (bit < 8) sync = 2 * sync + one; else number = 2 * number + one;
      }
      return sync === 0b10100110 ? number : -1;
    },
    // Median colour of a box given in shares of the picture: left, top, width, height.
    colour(left, top, width, height) {
      const size = grab();
      if (!size) return null;
      const box = [left * size.width, top * size.height, width * size.width, height * size.height].map(Math.round);
      const { data } = context.getImageData(...box);
      return [0, 1, 2].map((channel) => {
        const values = data.filter((_, index) => index % 4 === channel).sort();
        return values[values.length >> 1];
      });
    },
    // Strongest frequency, Hz, and level, dB below full scale, of the last third of a second.
    async sound() {
      const { audio, analyser } = await listen();
      const wave = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(wave);
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      let peak = 4;
      for (let bin = 4; bin < bins.length; bin++) if (bins[bin] > bins[peak]) peak = bin;
      const power = wave.reduce((sum, sample) => sum + sample * sample, 0) / wave.length;
      return { hz: (peak * audio.sampleRate) / analyser.fftSize, db: power > 0 ? 10 * Math.log10(power) : -200 };
    },
    async play() { await video().play(); },
  };
})()
"""

# Keeps every peer connection of the page within reach.
KEEP_CONNECTIONS = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) { super(...given); window.connections.push(this); }
};
"""


class Page(ABC):
    """One page of one browser, looked at as a test needs it."""

    @abstractmethod
    def evaluate(self, expression: str) -> Any:
        """Value of a JavaScript expression; a promise is waited for."""

    @abstractmethod
    def click(self, selector: str) -> None:
        """A press and release of the main button in the middle of the element."""

    @abstractmethod
    def goto(self, url: str) -> None:
        """Opens the address and waits until the document is loaded."""

    def wait(self, what: str, expression: str, seconds: float = 20.0) -> Any:
        """Waits until the expression is true."""
        return wait_for(what, lambda: self.evaluate(expression), seconds)

    def wait_data(self, seconds: float = 20.0, **wanted: str) -> None:
        """Waits for data attributes of the page, such as ``state="live"``."""
        pairs = {name: value for name, value in wanted.items()}
        for name, value in pairs.items():
            got = f"document.getElementById('app')?.dataset.{name}"
            try:
                self.wait(f"data-{name}={value}", f"{got} === '{value}'", seconds)
            except AssertionError as late:
                raise AssertionError(f"{late}; the page is {self.evaluate(got)!r} and says {self.state_line()!r}") from None

    def wait_frame(self, seconds: float = 20.0) -> None:
        """Waits for a picture that moves: two different frames."""
        first = wait_for("a frame", self.frame, seconds)
        wait_for("another frame", lambda: self.frame() != first, 5)

    def state_line(self) -> str:
        """What the page tells the person."""
        return self.evaluate("(document.getElementById('state')?.textContent ?? '').replace(/\\s+/g, ' ').trim()")

    def _probe(self, call: str) -> Any:
        return self.evaluate(f"({PROBE}, probe.{call})")

    def frame(self) -> int | None:
        """Number in the test picture's marker strip; -1 when the picture shows none."""
        return self._probe("frame()")

    def colour(self, left: float, top: float, width: float, height: float) -> np.ndarray:
        """Median colour of a box of the picture, RGB; the box in shares of width and height."""
        return np.array(self._probe(f"colour({left}, {top}, {width}, {height})"), dtype=float)

    def corner(self) -> np.ndarray:
        """Median colour in the middle of the overlay at its default place, bottom right."""
        return self.colour(0.80, 0.80, 0.12, 0.08)

    def sound(self) -> tuple[float, float]:
        """Strongest frequency, Hz, and level, dB below full scale, of what the device sends."""
        heard = self._probe("sound()")
        return heard["hz"], heard["db"]

    def wait_tone(self, hz: float, tolerance: float = 6.0, seconds: float = 15.0) -> float:
        """Waits until this tone is what is heard; its level, dB."""
        def heard() -> tuple[float, float] | None:
            found, level = self.sound()
            return (found, level) if abs(found - hz) < tolerance and level > -70 else None
        return wait_for(f"a tone of {hz} Hz", heard, seconds)[1]

    def level(self, seconds: float = 1.0) -> float:
        """Median level over some time, dB below full scale."""
        levels, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            levels.append(self.sound()[1])
            time.sleep(0.1)
        return float(np.median(levels))

    def start_talk(self, seconds: float = 20.0) -> None:
        """Presses Talk and waits until the device has the sound."""
        self.click("#talk")
        self.wait_data(seconds, talk="talking")

    def end_talk(self) -> None:
        """Presses Talk again and waits until the turn is over."""
        self.click("#talk")
        self.wait_data(talk="idle")


class ChromiumPage(Page):
    """A page of :class:`Chromium`."""

    def __init__(self, page: PlaywrightPage):
        self.page = page
        #: Longest wait, in seconds, for the browser to take a click in.
        self.patience = 10.0
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)

    def evaluate(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def click(self, selector: str) -> None:
        self.page.click(selector, timeout=self.patience * 1000)

    def goto(self, url: str) -> None:
        self.page.goto(url)

    def evaluate_without_gesture(self, expression: str) -> Any:
        """As ``evaluate``, but the browser does not take it for a person's act."""
        session = self.page.context.new_cdp_session(self.page)
        try:
            answer = session.send("Runtime.evaluate", {"expression": expression, "returnByValue": True})
            return answer["result"].get("value")
        finally:
            session.detach()


class Chromium:
    """Debian's Chromium with a home of its own, in which the given CA is trusted and nothing else is changed.

    ``microphone`` is a WAV file that it hears over and over; ``autoplay`` lets sound play without a tap; ``space`` is the network
    namespace in which it runs.
    """

    FLAGS = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    )
    #: Flags of Playwright's own that are left out.
    WITHOUT: tuple[str, ...] = ()

    def __init__(self, home: Path, ca: Path | None, microphone: Path | None = None, autoplay: bool = True, flags: tuple[str, ...] = (),
                 space: str | None = None):
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        self._program = Path("/usr/bin/chromium")
        if space:
            program, self._program = self._program, home / "chromium"
            self._program.write_text(f'#!/bin/sh\nexec ip netns exec {space} {program} "$@"\n')
            self._program.chmod(0o755)
        if ca:
            trust(home / ".pki/nssdb", ca)
        self._flags = [*self.FLAGS, *flags]
        if microphone:
            self._flags.append(f"--use-file-for-fake-audio-capture={microphone}")
        if autoplay:
            self._flags.append("--autoplay-policy=no-user-gesture-required")
        self._stack = ExitStack()
        self.browser: Browser

    def __enter__(self) -> Chromium:
        playwright = self._stack.enter_context(sync_playwright())
        environment = {**os.environ, **home_of(self._home)}
        self.browser = playwright.chromium.launch(executable_path=self._program, args=self._flags, ignore_default_args=list(self.WITHOUT), env=environment)
        self._stack.callback(self.browser.close)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def context(self, **options: Any) -> BrowserContext:
        """Fresh cookies and storage."""
        return self.browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})

    def open(self, url: str, first_script: str = "", **options: Any) -> ChromiumPage:
        """The page in a fresh context; ``first_script`` runs before the page's own."""
        context = self.context(**options)
        context.add_init_script(first_script)
        page = ChromiumPage(context.new_page())
        page.goto(url)
        return page

    def live(self, url: str, first_script: str = "", **options: Any) -> ChromiumPage:
        """The same, with the device's picture on it."""
        page = self.open(url, first_script, **options)
        page.wait_data(state="live")
        return page


def home_of(folder: Path) -> dict[str, str]:
    """Variables with which a browser keeps all it has there: profile, and what its client of a sound server would leave in /tmp."""
    # Not XDG_RUNTIME_DIR: with it Firefox did not get as far as a talk within 20 s, twice of two.
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / ".config"), "PULSE_RUNTIME_PATH": str(runtime)}


def trust(database: Path, ca: Path) -> None:
    """Makes the CA a trusted one in an NSS database, as a person does in the browser's settings."""
    database.mkdir(parents=True, exist_ok=True)
    name = f"sql:{database}"
    subprocess.run(["certutil", "-d", name, "-N", "--empty-password"], check=True, timeout=30)
    subprocess.run(["certutil", "-d", name, "-A", "-t", "C,,", "-n", "Duplex CA", "-i", str(ca)], check=True, timeout=30)


def write_tone(path: Path, hz: float, seconds: float = 4.0) -> Path:
    """A tone for the fake microphone, in syllables: a steady one is what noise suppression takes away."""
    rate = 48_000
    at = np.arange(int(seconds * rate)) / rate
    syllables = np.clip(20 * np.sin(2 * np.pi * 2.5 * at), 0, 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((0.5 * 32767 * syllables * np.sin(2 * np.pi * hz * at)).astype("<i2").tobytes())
    return path


def strongest_hz(path: Path, last_seconds: float = 2.0) -> float | None:
    """Strongest frequency above 60 Hz at the end of a WAV file that may still be written; ``None`` while it holds less."""
    if not path.exists():
        return None
    data = path.read_bytes()
    begin = data.find(b"data") + 8
    rate = int.from_bytes(data[24:28], "little")
    samples = np.frombuffer(data[begin : begin + (len(data) - begin) // 2 * 2], "<i2").astype(float)
    wanted = int(last_seconds * (rate or 48_000))
    if begin < 8 or len(samples) < wanted:
        return None
    window = samples[-wanted:] * np.hanning(wanted)
    spectrum = np.abs(np.fft.rfft(window))
    hz = np.fft.rfftfreq(wanted, 1 / rate)
    spectrum[hz < 60] = 0
    return float(hz[spectrum.argmax()]) if spectrum.max() > 1000 else None
