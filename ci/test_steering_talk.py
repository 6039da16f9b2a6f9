"""The owner changes where the picture comes from while somebody talks.

In: a clip, an image, the test picture; a talker in Chromium and a stock viewer. Out: what both see, and what is heard of the talk. Never:
beside other tests: how long a pause is, is measured.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

import numpy

from browser import KEEP_CONNECTIONS, Chromium, write_tone
from device import Device, wait_for
from stock import RATE, Launch, amplitude, markers, samples, signaller, source, wait_for_tone
from test_call_chromium import wait_corner
from test_steering import SIZE, done, grey_clip, grey_image, last_level

Start = Callable[..., Device]
Run = Callable[[str], Launch]


def longest_pause(sound: numpy.ndarray, hertz: float) -> float:
    """Seconds for which a tone is a quarter as loud as it is at its loudest, or less, at the most."""
    part = RATE // 20
    levels = numpy.array([amplitude(sound[at:at + part], hertz) for at in range(0, len(sound) - part + 1, part)])
    pauses = [0]
    for quiet in levels < numpy.percentile(levels, 90) / 4:
        pauses.append(pauses[-1] + 1 if quiet else 0)
    return max(pauses) * part / RATE


def test_the_picture_comes_from_elsewhere_while_somebody_talks(device: Start, launch: Run, tmp_path: Path) -> None:
    """Test picture, clip, image, test picture: who watches stays and sees each; who talks stays in the corner, and is heard without a hole of half a second."""
    heard, gray = tmp_path / "heard.wav", tmp_path / "seen.gray"
    dark, bright = grey_clip(tmp_path / "dark.mp4", 60), grey_image(tmp_path / "bright.png", 200)
    one = device("--sound", f"file:{heard}", "--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", 1000)) as chromium:
        page = chromium.live(one.url, KEEP_CONNECTIONS)
        viewer = launch(source(signaller(one.signalling, ca=one.ca), gray=gray))
        viewer.wait_for_frames(10)
        page.wait_frame()
        pattern = page.colour(0.02, 0.5, 0.05, 0.05)
        page.click("#camera")
        page.start_talk()
        wait_corner(page, True, pattern)
        wait_for_tone(heard, 1000, least=0.1)
        began, before = time.monotonic(), len(samples(heard))
        connections = page.evaluate("connections.length")

        for where, luma, level in ((f"file:{dark}", 67, 60), (f"image:{bright}", 188, 200)):
            done(one, "source", "set", "video", where)
            wait_for(f"a luma of {luma} at the viewer", lambda luma=luma: abs(last_level(gray, 0.6) - luma) < 8, 15)
            wait_for(f"{level} of 255 in the page", lambda level=level: numpy.abs(page.colour(0.1, 0.2, 0.2, 0.2) - level).max() < 15, 15)
            wait_corner(page, True, numpy.full(3, level))
        seen = len(markers(gray, *SIZE))
        done(one, "source", "set", "video", "test")
        wait_for("numbered frames again", lambda: len(markers(gray, *SIZE)) > seen + 10 and (page.frame() or 0) > 0, 15)
        wait_corner(page, True, pattern)

        # One talk all the time: each writes the file anew.
        elapsed, talked = time.monotonic() - began, len(samples(heard)) - before
        assert abs(talked / RATE - elapsed) < 1.5, (talked / RATE, elapsed)
        pause = longest_pause(samples(heard)[before - RATE // 2:], 1000)
        print(f"the longest pause in {elapsed:.1f} s of talk: {pause:.2f} s")
        # The tone itself sounds for a fifth of a second, and is silent for as long.
        assert pause < 0.6 and wait_for_tone(heard, 1000, least=0.1)
        state = "[app.dataset.state, app.dataset.talk, connections.length, ...new Set(connections.map((one) => one.connectionState))].join()"
        assert page.evaluate(state) == f"live,talking,{connections},connected" and page.faults == []
    assert viewer.process.poll() is None
    count = lambda words: sum(words in line for line in one.lines)  # noqa: E731
    assert (count("viewer joins"), count("talker connected"), count("a talk ended early")) == (2, 1, 0), one.log()
    assert count("source failed") == 0
