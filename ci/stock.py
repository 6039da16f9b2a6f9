"""Stock clients: gst-launch-1.0 with the built plugins, the stock signalling server, simple-http-server.

In: words of a pipeline, addresses, a CA, a token. Out: processes whose frames and sound can be measured.
Never: a process that outlives its test, a pipeline without a deadline, a fixed port.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from pathlib import Path
from typing import Iterable

import numpy

from device import TOP, wait_for

PLUGINS = TOP / "target/release"
RATE = 48_000
#: No public STUN server is asked; everything else is as the recipes have it.
QUIET = "stun-server=NULL"


class Program:
    """A process with its output; ended by ``stop``, or by the fixture that started it."""

    def __init__(self, words: Iterable[str | Path], env: dict[str, str] | None = None, cwd: Path | None = None):
        self.lines: list[str] = []
        self.words = [str(word) for word in words]
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env={**os.environ, **(env or {})}, cwd=cwd,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def log(self) -> str:
        return "\n".join(self.lines)

    def port(self) -> int:
        """The TCP port it listens on, as the kernel says: stock programs print the port they were given, 0."""
        return wait_for(f"{self.words[0]} listens", lambda: listening_port(self.process.pid), 20)

    def end(self, seconds: float = 20.0) -> int:
        """Waits until it ends by itself; the exit code."""
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self.reader.join(5)


class Launch(Program):
    """One ``gst-launch-1.0 -v``."""

    def __init__(self, pipeline: str):
        super().__init__(["gst-launch-1.0", "-v", *shlex.split(pipeline)], env={"GST_PLUGIN_PATH": str(PLUGINS)})

    def frames(self, identity: str = "seen") -> int:
        """Buffers that went through ``identity name=NAME silent=false``."""
        mark = f":{identity}: last-message = chain "
        return sum(mark in line for line in self.lines)

    def wait_for_frames(self, count: int, seconds: float = 30.0) -> None:
        def probe() -> bool:
            if self.process.poll() is not None and self.frames() < count:
                raise AssertionError(f"gst-launch ended with {self.process.returncode}:\n{self.tail()}")
            return self.frames() >= count

        try:
            wait_for(f"{count} frames", probe, seconds)
        except AssertionError:
            print(f"{self.frames()} frames came; the end of gst-launch's output:\n{self.tail()}")
            raise

    def tail(self) -> str:
        """The end of its output, without the properties and frames that -v prints."""
        plain = [line for line in self.lines if "/GstPipeline:" not in line]
        return "\n".join(plain[-15:])


def signaller(uri: str, *, ca: Path | None = None, token: str | None = None, peer: str | None = None) -> str:
    """Properties of a stock element's signaller, as words for gst-launch.

    ``signaller::headers`` takes a GstStructure. In the shell it is written as
    ``signaller::headers='headers,Authorization=(string)"Bearer\\ TOKEN"'``: any name first, then the fields; the space
    within the value needs its backslash although it stands in quotes.
    """
    words = [QUIET, f"signaller::uri={uri}"]
    if ca:
        words.append(f"signaller::cafile={ca}")
    if token:
        words.append(shlex.quote(f'signaller::headers=headers,Authorization=(string)"Bearer\\ {token}"'))
    if peer:
        words.append(f"signaller::producer-peer-id={peer}")
    return " ".join(words)


def source(words: str, *, video: bool = True, wav: Path | None = None, gray: Path | None = None, async_: bool = False,
           volume: float | None = None, deaf: bool = False) -> str:
    """A receiving pipeline as in the recipes; autovideosink is a counted fakesink, autoaudiosink a WAV file.

    ``gray`` also writes the luma of every frame. ``async_``: the sinks preroll, as the recipes' sinks do. Sound that is
    not wanted goes to a fakesink, unless ``deaf``: then its pad stays unlinked, as in the recipe for video only.
    """
    how = "" if async_ else "async=false"
    first = "" if "producer-peer-id" in words else "connect-to-first-producer=true "
    text = f"webrtcsrc name=ws {first}{words} "
    if video:
        luma = f"video/x-raw,format=GRAY8 ! filesink {how} buffer-mode=unbuffered location={gray}" if gray else f"fakesink sync=true {how}"
        text += f"ws. ! queue ! videoconvert ! identity name=seen silent=false ! {luma} "
    if wav:
        level = f"volume volume={volume} ! " if volume is not None else ""
        text += (
            f"ws. ! queue ! {level}audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={RATE},channels=1 "
            f"! wavenc ! filesink {how} buffer-mode=unbuffered location={wav}"
        )
    elif video and not deaf:
        text += "ws. ! audioconvert ! fakesink async=false"
    return text


def sink(words: str, *, video: bool = True, tone: int | None = None) -> str:
    """A sending pipeline as in the recipes, with test sources; small pictures, for there are but two cores."""
    text = f"webrtcsink name=ws {words} "
    if tone:
        text += (
            f"audiotestsrc is-live=true freq={tone} volume=0.5 ! audioconvert ! audioresample ! queue "
            "! opusenc perfect-timestamp=true ! ws. "
        )
    if video:
        text += (
            "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240 ! videoconvert ! queue "
            "! vp8enc deadline=1 ! ws."
        )
    return text


def samples(path: Path) -> numpy.ndarray:
    """Mono samples, -1 to 1, of a 16 bit WAV file that may still be written to (its header has no length yet)."""
    data = path.read_bytes() if path.exists() else b""
    start = data.find(b"data")
    if start < 0:
        return numpy.zeros(0)
    body = data[start + 8:]
    return numpy.frombuffer(body[: len(body) & ~1], dtype="<i2") / 32768.0


def tone(sound: numpy.ndarray) -> tuple[float, float]:
    """Frequency in Hz of the strongest tone, and its amplitude."""
    if len(sound) < RATE // 4:
        return 0.0, 0.0
    window = numpy.hanning(len(sound))
    spectrum = numpy.abs(numpy.fft.rfft(sound * window))
    spectrum[: int(50 * len(sound) / RATE)] = 0
    peak = int(spectrum.argmax())
    return peak * RATE / len(sound), 2 * float(spectrum[peak]) / float(window.sum())


def amplitude(sound: numpy.ndarray, frequency: float) -> float:
    """Amplitude of the part of a sound at one frequency."""
    if not len(sound):
        return 0.0
    turn = numpy.exp(-2j * numpy.pi * frequency * numpy.arange(len(sound)) / RATE)
    return 2 * abs(complex((sound * turn * numpy.hanning(len(sound))).sum())) / (len(sound) / 2)


def wait_for_tone(path: Path, frequency: float, seconds: float = 30.0, least: float = 0.005) -> float:
    """Waits until the last second of a WAV file is this tone, within 5 Hz; its amplitude."""

    def probe() -> float | None:
        sound = samples(path)[-RATE:]
        heard, level = tone(sound) if len(sound) == RATE else (0.0, 0.0)
        return level if abs(heard - frequency) <= 5 and level >= least else None

    return wait_for(f"{frequency} Hz in {path.name}", probe, seconds)


def markers(path: Path, width: int, height: int) -> list[int]:
    """Frame numbers that the device's test picture carries in its lower edge (see the test source's ``marker``)."""
    data = path.read_bytes() if path.exists() else b""
    size, found = width * height, []
    for start in range(0, len(data) - size + 1, size):
        number = marker(numpy.frombuffer(data, dtype=numpy.uint8, count=size, offset=start).reshape(height, width))
        if number is not None:
            found.append(number)
    return found


def marker(frame: numpy.ndarray) -> int | None:
    """The number in one frame's luma, rows by columns."""
    height, width = frame.shape
    cell = min(width // 40, 16) & ~1
    strip = frame[height - cell + 2:height - 2, : 32 * cell].reshape(-1, 32, cell)
    bits = strip[:, :, 2:-2].mean(axis=(0, 2)) > 125
    value = int("".join("1" if bit else "0" for bit in bits), 2)
    return value & 0xFFFFFF if value >> 24 == 0b10100110 else None


def listening_port(pid: int) -> int | None:
    """The lowest TCP port that a process listens on."""
    sockets = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    ports = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                ports.append(int(fields[1].rsplit(":", 1)[1], 16))
    return min(ports, default=None)
