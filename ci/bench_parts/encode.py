"""Processor time of the encode for each megapixel: in Duplex at work, beside the same encoder alone and the encoder with its defaults.

In: the clip at 720p30, real time. Out: milliseconds of a core for a megapixel. Never: the decoder of the clip, which works in other threads.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_parts.processes import end, say, threads_of
from bench_parts.receivers import producers, watching
from bench_parts.run import BITRATE, DUPLEX, STOCK, Run
from bench_parts.table import Section
from device import Device

MEGAPIXELS = 1280 * 720 / 1e6
#: By Duplex's name: GStreamer's element.
CODECS = {"vp8": "vp8enc", "h264": "x264enc"}
ALONE, DEFAULTS = "encoder alone", "encoder alone, its defaults"
#: Until the encoder has found its pace, s.
SETTLE = 2.0


def busiest(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]]) -> float:
    """Seconds that the threads of the busiest name used: an encoder's own threads have the name of the one that feeds it."""
    by_name: dict[str, float] = {}
    for thread, (name, used) in after.items():
        by_name[name] = by_name.get(name, 0.0) + used - before.get(thread, (name, 0.0))[1]
    return max(by_name.values())


def in_duplex(run: Run, codec: str, seconds: float) -> float:
    """A service of its own with one viewer."""
    say(f"{DUPLEX}: encode, {codec}")
    flags = ["--video", f"file:{run.clip}", "--audio", f"file:{run.clip}", "--video-bitrate", str(BITRATE), "--video-codec", codec]
    with tempfile.TemporaryDirectory() as folder, Device(Path(folder), *flags, picture_size="1280x720", plain=True) as device:
        assert device.process
        signalling = device.signalling.replace("localhost", "127.0.0.1")
        (own,) = producers(signalling)
        with watching(signalling, own, 1) as receivers:
            time.sleep(SETTLE)
            receivers.reset()
            before = threads_of(device.process.pid)
            time.sleep(seconds)
            used = busiest(before, threads_of(device.process.pid))
            return used * 1000 / receivers.report()[0]["frames"] / MEGAPIXELS


def alone(run: Run, codec: str, seconds: float, how: str) -> float:
    say(f"{CODECS[codec]} alone{', its defaults' if how else ''}")
    words = [str(STOCK), f"count:{codec}{how}", str(run.clip), str(BITRATE), "encoded"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        counts = (int(line) for line in process.stdout)
        for _ in range(int(SETTLE * 2)):
            next(counts)
        first, before = next(counts), threads_of(process.pid)
        until = time.monotonic() + seconds
        last = next(count for count in counts if time.monotonic() > until)
        return busiest(before, threads_of(process.pid)) * 1000 / (last - first) / MEGAPIXELS
    finally:
        end(process)


def measure(run: Run) -> None:
    """The part ``encode``."""
    seconds = 2 if run.quick else 15
    others = {ALONE: ""} if run.quick else {ALONE: "", DEFAULTS: ":defaults"}
    run.result["encode_ms"] = {
        codec: {DUPLEX: in_duplex(run, codec, seconds), **{name: alone(run, codec, seconds, how) for name, how in others.items()}}
        for codec in CODECS
    }


def rows(found: dict[str, Any]) -> Section:
    section = Section("Encode, ms of a core for a megapixel")
    for codec, figures in found.items():
        section.add(f"{codec.upper()} ({CODECS[codec]})", figures, 2)
    return section
