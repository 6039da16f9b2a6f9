"""A room of software: what the device's speaker plays comes back into its microphone, later, softer and with a decay.

In: the device's speaker, what somebody in the room says (``near``), what a talker far away says (``far``), sample by sample.
Out: echo and voice in the device's microphone, the talker's words in his own, in real time; all kept for measuring. Never: a sound card, or anyone else's sound server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy

from device import end_processes, wait_for
from stock import RATE

BLOCK = RATE // 100
#: Decay of the room, seconds to a thousandth; distance from speaker to microphone; how much softer the echo is.
REVERBERATION, DISTANCE, ECHO = 0.3, 0.004, 0.5


def response(seed: int = 7) -> numpy.ndarray:
    """A small room: direct sound, then a decaying tail."""
    length = int(REVERBERATION * RATE)
    tail = numpy.random.default_rng(seed).standard_normal(length) * 10 ** (-3 * numpy.arange(length) / length)
    tail[: int(DISTANCE * RATE)] = 0
    tail[int(DISTANCE * RATE)] = 4
    return ECHO * tail / numpy.sqrt((tail**2).sum())


def padded(waiting: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The next block of what waits, with silence after its end, and the rest."""
    block = waiting[:BLOCK]
    return numpy.concatenate((block, numpy.zeros(BLOCK - len(block)))), waiting[BLOCK:]


def available() -> bool:
    return all(shutil.which(name) for name in ("pulseaudio", "parec", "pacat"))


class Room:
    """A sound server of its own with the room in it; ``near`` is what is said there, sample by sample, from now on."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.echo: list[numpy.ndarray] = []
        self.said: list[numpy.ndarray] = []
        self.both: list[numpy.ndarray] = []
        self.near = numpy.zeros(0)
        self.far = numpy.zeros(0)
        self.over = threading.Event()
        folder.mkdir(parents=True)
        (folder / "alsa.conf").write_text(
            "</usr/share/alsa/alsa.conf>\n"
            'pcm.room_speaker { type pulse device "speaker" }\n'
            'pcm.room_microphone { type pulse device "microphone.monitor" }\n'
            'pcm.far_microphone { type pulse device "far" }\n'
        )
        self.environment = {
            "PULSE_SERVER": f"unix:{folder}/pulse", "PULSE_COOKIE": str(folder / "cookie"), "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
            "PULSE_RUNTIME_PATH": str(folder / "run"),
        }
        every = {**os.environ, **self.environment, "HOME": str(folder)}
        form = f"rate={RATE} format=s16le"
        one_of_two = "channels=1 channel_map=mono remix=no master_channel_map"
        # Speaker and mouth are two channels of one sink: what is recorded of both is in step to the sample.
        loads = [word for line in (
            f"module-native-protocol-unix socket={folder}/pulse auth-anonymous=1",
            f"module-null-sink sink_name=both channels=2 channel_map=front-left,front-right {form}",
            f"module-null-sink sink_name=microphone channels=1 {form}",
            f"module-remap-sink sink_name=speaker master=both {one_of_two}=front-left {form}",
            f"module-remap-sink sink_name=mouth master=both {one_of_two}=front-right {form}",
            f"module-remap-source source_name=far master=both.monitor {one_of_two}=front-right {form}",
        ) for word in ("-L", line)]
        words = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disallow-exit=no", *loads]
        self.log = (folder / "pulse.log").open("wb")
        self.processes = [subprocess.Popen(words, env=every, stdout=self.log, stderr=self.log)]
        wait_for("the sound server", lambda: (folder / "pulse").exists(), 20)
        raw = ["--raw", f"--rate={RATE}", "--format=s16le", "--latency-msec=20"]
        self.heard = subprocess.Popen(
            ["parec", "-d", "both.monitor", "--channels=2", *raw], env=every, stdout=subprocess.PIPE, stderr=self.log, bufsize=0)
        self.spoken, self.mouth = (
            subprocess.Popen(["pacat", "-d", sink, "--channels=1", *raw], env=every, stdin=subprocess.PIPE, stderr=self.log, bufsize=0)
            for sink in ("microphone", "mouth"))
        self.processes += [self.heard, self.spoken, self.mouth]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        assert self.heard.stdout and self.spoken.stdin and self.mouth.stdin
        impulse = response()
        size = 1 << (len(impulse) + BLOCK).bit_length()
        spectrum, history = numpy.fft.rfft(impulse, size), numpy.zeros(size)
        pending = b""
        while not self.over.is_set():
            piece = self.heard.stdout.read(4 * BLOCK - len(pending))
            if not piece:
                return
            pending += piece
            if len(pending) < 4 * BLOCK:
                continue
            block, pending = numpy.frombuffer(pending, "<i2").reshape(-1, 2) / 32768.0, b""
            self.both.append(block)
            history = numpy.concatenate((history[BLOCK:], block[:, 0]))
            echo = numpy.fft.irfft(numpy.fft.rfft(history) * spectrum, size)[-BLOCK:]
            near, self.near = padded(self.near)
            far, self.far = padded(self.far)
            self.echo.append(echo)
            self.said.append(near)
            try:
                self.spoken.stdin.write((numpy.clip(echo + near, -1, 1) * 32767).astype("<i2").tobytes())
                self.mouth.stdin.write((far * 32767).astype("<i2").tobytes())
            except OSError:
                return

    def last(self, seconds: float) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Echo and voice in the microphone over the last seconds."""
        blocks = int(seconds * 100)
        return numpy.concatenate(self.echo[-blocks:]), numpy.concatenate(self.said[-blocks:])

    def stop(self) -> None:
        self.over.set()
        end_processes(self.processes)
        self.thread.join(5)
        self.log.close()


def speech(path: Path, text: str, voice: str, gain: float) -> numpy.ndarray:
    """A spoken text as a file and as samples, at a loudness of ``gain``, -1 to 1, root mean square."""
    subprocess.run(["gst-launch-1.0", "-q", "espeak", f"text={text}", f"voice={voice}", "!", "audioconvert", "!", "audioresample", "!",
                    f"audio/x-raw,format=S16LE,rate={RATE},channels=1", "!", "filesink", f"location={path}.raw"], check=True, timeout=60)
    sound = numpy.fromfile(f"{path}.raw", "<i2") / 32768.0
    sound *= gain / numpy.sqrt((sound**2).mean())
    return numpy.clip(sound, -1, 1)


def part_of(reference: numpy.ndarray, mixed: numpy.ndarray, window: int = 2048) -> float:
    """Power of that part of ``mixed`` which follows from ``reference``, whenever it came: by coherence, frequency by frequency."""
    size = 1 << (len(reference) + len(mixed)).bit_length()
    far, near = numpy.fft.rfft(mixed, size), numpy.fft.rfft(reference, size)
    cross = far * near.conj()
    # Only the phase counts, where speech is: it is loud at a few frequencies, and these would smear the peak.
    hertz = numpy.fft.rfftfreq(size, 1 / RATE)
    cross[(hertz < 200) | (hertz > 4000)] = 0
    peaks = numpy.fft.irfft(cross / numpy.sqrt(numpy.abs(cross) + 1e-12), size)
    # Nothing comes three seconds late.
    peaks[3 * RATE:-3 * RATE] = 0
    lag = int(numpy.argmax(numpy.abs(peaks)))
    lag = lag - size if lag > size // 2 else lag
    start, end = max(0, lag), min(len(mixed), lag + len(reference))
    pairs = [(reference[k - lag:k - lag + window], mixed[k:k + window]) for k in range(start, end - window, window // 2)]
    shape = numpy.hanning(window)
    a = numpy.array([numpy.fft.rfft(shape * one) for one, _ in pairs])
    b = numpy.array([numpy.fft.rfft(shape * two) for _, two in pairs])
    together = numpy.abs((a.conj() * b).mean(axis=0)) ** 2 / ((numpy.abs(a) ** 2).mean(axis=0) + 1e-12)
    # What chance alone makes of so many windows is not coherence.
    chance = (numpy.abs(b) ** 2).mean(axis=0) / max(len(pairs), 1)
    return float(numpy.maximum(together - chance, 0).sum() / (0.375 * window * window / 2))


def power(sound: numpy.ndarray) -> float:
    return float((sound**2).mean()) if len(sound) else 0.0


def wait_until_spoken(room: Room, seconds: float) -> None:
    """Waits until the room has heard so much."""
    blocks = len(room.echo) + int(seconds * 100)
    wait_for(f"{seconds} s in the room", lambda: len(room.echo) >= blocks, 3 * seconds + 30)
    time.sleep(0.5)
