"""How late a talker is heard at the device, from his microphone to its speaker, with each length of the jitter buffer.

A room of software takes the place of air (see room.py); the talker is a stock webrtcsink, speaker and call are the service's own.
CLICKS=600 listens for ten minutes instead of ten seconds, and tells whether the clocks drift apart.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

import numpy
import pytest

from device import Device
from peer import new_token, set_password
from room import Room, wait_until_spoken
from stock import RATE, Launch, signaller

Start = Callable[..., Device]
Run = Callable[[str], Launch]
#: A talker whose microphone is the room's other end.
TALKER = ("webrtcsink name=ws {talk} alsasrc device=far_microphone buffer-time=40000 latency-time=10000 ! audioconvert ! audioresample "
          "! queue ! opusenc ! ws.")


@pytest.mark.parametrize("jitter", [20, 80, 150, 300])
def test_mouth_to_ear(device: Start, launch: Run, room: Room, jitter: int) -> None:
    """Clicks, from the talker's microphone to the device's speaker: how late, how many are lost."""
    one = device("--sound", "speaker:room_speaker", "--picture", "discard", "--jitter-buffer", str(jitter), picture_size="160x120")
    set_password(one)
    launch(TALKER.format(talk=signaller(one.signalling, ca=one.ca, token=new_token(one, "talk"))))
    one.wait_for_log("talker connected", 40)
    wait_until_spoken(room, 3)
    count, every = int(os.environ.get("CLICKS", "10")), RATE
    click = 0.5 * numpy.sin(2 * numpy.pi * 2000 * numpy.arange(RATE // 100) / RATE)
    start = len(room.both)
    room.far = numpy.concatenate([numpy.concatenate((click, numpy.zeros(every - len(click)))) for _ in range(count)])
    wait_until_spoken(room, count + 1)
    sound = numpy.abs(numpy.concatenate(room.both[start:]))
    said, heard = onsets(sound[:, 1], every), onsets(sound[:, 0], every)
    delays = [1000 * (after[0] - at) / RATE for at in said if len(after := heard[(heard > at) & (heard < at + every)])]
    tenth = max(len(delays) // 10, 1)
    print(f"mouth to ear with jitter-buffer {jitter} ms: median {numpy.median(delays):.0f} ms, {min(delays):.0f} to {max(delays):.0f}, "
          f"{len(said) - len(delays)} of {len(said)} clicks lost; first tenth {numpy.median(delays[:tenth]):.0f} ms, "
          f"last tenth {numpy.median(delays[-tenth:]):.0f} ms")
    assert len(said) == count and len(delays) >= count * 0.5
    assert jitter < numpy.median(delays) < jitter + 400


def onsets(loudness: numpy.ndarray, every: int) -> numpy.ndarray:
    """Where clicks begin; what follows within half their distance belongs to the same one."""
    found: list[int] = []
    for at in numpy.flatnonzero(loudness > 0.1):
        if not found or at - found[-1] > every // 2:
            found.append(int(at))
    return numpy.array(found)
