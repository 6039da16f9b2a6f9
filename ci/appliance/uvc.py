"""What a USB camera says of itself: descriptors of the USB Video Class 1.1 for formats that webcams offer.

In: formats with sizes and rates. Out: the descriptors of a camera with one bulk endpoint. Never: a format that USB 2 has no room for.

Sources: USB 2.0, chapter 9; the USB Video Class 1.1 with its payload documents for YUV, MJPEG and frame-based formats.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

VENDOR, PRODUCT, VERSION = 0x1209, 0x0001, 0x0100  # pid.codes keeps this one for tests
STRINGS = ("", "Proband", "MJPEG camera", "0001")
ENDPOINT, PACKET = 0x81, 512
TERMINAL, PROCESSING, OUTPUT = 1, 2, 3
CLOCK = 48_000_000
#: Bytes of one payload with its header: Linux asks for at most 32 packets at once.
PAYLOAD = 32 * PACKET
#: What a FourCC's GUID ends with.
GUID = bytes.fromhex("00001000800000aa00389b71")


class Size(NamedTuple):
    """One size of a format, with the rates it is to be had at, in pictures per second; the first is the default."""

    width: int
    height: int
    rates: tuple[int, ...]


class Format(NamedTuple):
    """One format as webcams offer it; its index is its place, from 1."""

    fourcc: str
    sizes: tuple[Size, ...]


class Asked(NamedTuple):
    """What the driver committed to."""

    fourcc: str
    width: int
    height: int
    rate: int


#: Raw pictures only at rates or sizes that USB 2 has room for, compressed ones at all.
WEBCAM = (
    Format("YUY2", (Size(640, 480, (15,)), Size(320, 240, (5,)))),
    Format("MJPG", (Size(640, 480, (30, 15)), Size(320, 240, (30, 15)))),
    Format("H264", (Size(640, 480, (30, 15)), Size(320, 240, (30, 15)))),
)


def described(*fields: bytes) -> bytes:
    """A descriptor, with its length before it."""
    body = b"".join(fields)
    return bytes((len(body) + 1,)) + body


def interval(rate: int) -> int:
    """In units of 100 ns."""
    return 10_000_000 // rate


def format_descriptors(index: int, one: Format) -> bytes:
    """A format with its sizes."""
    guid = one.fourcc.encode() + GUID
    head, count, raw = {"YUY2": 0x04, "MJPG": 0x06, "H264": 0x10}[one.fourcc], len(one.sizes), one.fourcc == "YUY2"
    if one.fourcc == "MJPG":
        text = described(bytes((0x24, head, index, count, 1, 1, 0, 0, 0, 0)))
    else:
        tail = bytes((16 if raw else 0, 1, 0, 0, 0, 0)) + (b"" if raw else b"\x01")
        text = described(bytes((0x24, head, index, count)), guid, tail)
    for frame, size in enumerate(one.sizes, 1):
        most = size.width * size.height * 2
        bits = [most * 8 * min(size.rates), most * 8 * max(size.rates)]
        intervals = [interval(rate) for rate in size.rates]
        if one.fourcc == "H264":
            rest = struct.pack("<IIIBI", *bits, intervals[0], len(intervals), 0)
        else:
            rest = struct.pack("<IIIIB", *bits, most, intervals[0], len(intervals))
        text += described(struct.pack("<BBBBHH", 0x24, head + 1, frame, 0, size.width, size.height), rest, struct.pack(f"<{len(intervals)}I", *intervals))
    # Colours as of sRGB and JPEG.
    return text if one.fourcc == "H264" else text + described(bytes((0x24, 0x0D, 1, 1, 4)))


def configuration(formats: tuple[Format, ...]) -> bytes:
    """The configuration's descriptor with all below it."""
    units = b"".join((
        described(struct.pack("<BBBHBBHHHB3s", 0x24, 0x02, TERMINAL, 0x0201, 0, 0, 0, 0, 0, 3, b"\0\0\0")),
        described(struct.pack("<BBBBHB2sBB", 0x24, 0x05, PROCESSING, TERMINAL, 0, 2, b"\x01\0", 0, 0)),
        described(struct.pack("<BBBHBBB", 0x24, 0x03, OUTPUT, 0x0101, 0, PROCESSING, 0)),
    ))
    control = described(struct.pack("<BBHHIBB", 0x24, 0x01, 0x0110, 13 + len(units), CLOCK, 1, 1)) + units
    listed = b"".join(format_descriptors(index, one) for index, one in enumerate(formats, 1))
    start = struct.pack("<BBBHBBBBBBB", 0x24, 0x01, len(formats), 13 + len(formats) + len(listed), ENDPOINT, 0, OUTPUT, 0, 0, 0, 1)
    body = b"".join((
        described(bytes((0x0B, 0, 2, 0x0E, 3, 0, 0))),  # the two interfaces are one function
        described(bytes((0x04, 0, 0, 0, 0x0E, 1, 0, 0))), control,
        described(bytes((0x04, 1, 0, 1, 0x0E, 2, 0, 0))), described(start, bytes(len(formats))), listed,
        described(struct.pack("<BBBHB", 0x05, ENDPOINT, 2, PACKET, 0)),
    ))
    return described(struct.pack("<BHBBBBB", 0x02, 9 + len(body), 2, 1, 0, 0x80, 250)) + body


def descriptor(formats: tuple[Format, ...], kind: int, index: int) -> bytes | None:
    """What GET_DESCRIPTOR answers."""
    if kind == 1:
        return described(struct.pack("<BHBBBBHHHBBBB", 0x01, 0x0200, 0xEF, 2, 1, 64, VENDOR, PRODUCT, VERSION, 1, 2, 3, 1))
    if kind == 2 and index == 0:
        return configuration(formats)
    if kind == 3 and index < len(STRINGS):
        return described(b"\x03", STRINGS[index].encode("utf-16-le") if index else b"\x09\x04")
    return None
