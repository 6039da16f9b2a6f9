"""A picture that is known again: a bright bar that goes from left to right under a stair of greys, as MJPEG or raw.

In: a size and a step. Out: the picture as a camera sends it; where the bar is in a picture that was seen. Never: a file.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Callable

import av
import numpy

#: A bright bar goes from left to right over a dark ground, so many times in its way.
STEPS = 40
#: Without it a picture compressed would fit into one payload.
GRAIN = numpy.random.default_rng(1).integers(0, 16, (480, 640), numpy.uint8)


def luma(width: int, height: int, step: int) -> numpy.ndarray:
    """One picture: above a stair that gets brighter to the right, below it the bar."""
    picture = numpy.full((height, width), 40, numpy.uint8)
    picture[:height // 4] = numpy.linspace(30, 220, 8).astype(numpy.uint8).repeat(width // 8)
    left = step % STEPS * width // STEPS
    picture[height // 4:, left:left + width // 8] = 220
    return picture + GRAIN[:height, :width]


def bar(frame: numpy.ndarray | None) -> int | None:
    """Where the bar begins, in percent of the width; ``None``: the luma shows something else."""
    if frame is None:
        return None
    height, width = frame.shape
    eighth, below = width // 8, frame[height // 4 + 8:].mean(axis=0)
    stair = [float(frame[8:height // 4 - 8, k * eighth + 6:(k + 1) * eighth - 6].mean()) for k in range(8)]
    bright = numpy.flatnonzero(below > 130)
    if any(b - a < 10 for a, b in zip(stair, stair[1:])) or not len(bright) or numpy.median(below) > 70:
        return None
    return int(bright[0]) * 100 // width


def bar_of(picture: bytes) -> int | None:
    """The same of a picture in JPEG."""
    (frame,) = av.CodecContext.create("mjpeg", "r").decode(av.Packet(picture))
    return bar(frame.to_ndarray(format="gray"))


def jpeg(width: int, height: int, step: int) -> bytes:
    """A picture as webcams send it: 4:2:2, without the Huffman tables that are everybody's, and with a few bytes after its end."""
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj422p"
    codec.time_base = Fraction(1, 30)
    codec.options = {"huffman": "default", "qmin": "2", "qmax": "2"}
    frame = av.VideoFrame(width, height, "yuvj422p")
    for plane, values in zip(frame.planes, (luma(width, height, step), *2 * [numpy.full((height, width // 2), 128, numpy.uint8)])):
        rows = numpy.zeros((height, plane.line_size), numpy.uint8)
        rows[:, :values.shape[1]] = values
        plane.update(rows.tobytes())
    whole = b"".join(bytes(packet) for packet in (*codec.encode(frame), *codec.encode(None)))
    kept, at = whole[:2], 2
    while whole[at + 1] != 0xDA:  # up to the scan
        length = 2 + int.from_bytes(whole[at + 2:at + 4], "big")
        kept += b"" if whole[at + 1] == 0xC4 else whole[at:at + length]
        at += length
    return kept + whole[at:] + bytes(5)


def yuyv(width: int, height: int, step: int) -> bytes:
    """The same picture raw."""
    packed = numpy.full((height, width, 2), 128, numpy.uint8)
    packed[..., 0] = luma(width, height, step)
    return packed.tobytes()


MAKERS: dict[str, Callable[[int, int, int], bytes]] = {"MJPG": jpeg, "YUY2": yuyv}
