"""What an ELF file wants to be loaded with it.

In: bytes of a file. Out: its soname, the sonames it needs, and those it says it may open while it runs.
Never: executes or trusts the file: whatever does not parse counts as no ELF file.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Elf:
    """The dynamic part of a 64 bit little-endian ELF file."""

    soname: str | None = None
    needed: tuple[str, ...] = ()
    #: From the note .note.dlopen (see the specification of that name by systemd): soname to priority.
    opens: dict[str, str] = field(default_factory=dict)


def parse(data: bytes) -> Elf | None:
    """``None`` for anything that is not such a file."""
    if data[:6] != b"\x7fELF\x02\x01":
        return None
    try:
        return _parse(data)
    except (struct.error, ValueError, IndexError):
        return None


def _parse(data: bytes) -> Elf:
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phentsize, phnum, shentsize, shnum, shstrndx = struct.unpack_from("<HHHHH", data, 54)
    loads, dynamic = [], None
    for index in range(phnum):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, phoff + index * phentsize)
        if kind == 1:
            loads.append((address, offset, size))
        elif kind == 2:
            dynamic = (offset, size)
    tags: list[tuple[int, int]] = []
    if dynamic:
        for at in range(dynamic[0], dynamic[0] + dynamic[1], 16):
            tag, value = struct.unpack_from("<qQ", data, at)
            if tag == 0:
                break
            tags.append((tag, value))
    strings = next((value for tag, value in tags if tag == 5), None)
    soname, needed = None, []
    if strings is not None:
        base = next(offset + strings - address for address, offset, size in loads if address <= strings < address + size)
        for tag, value in tags:
            if tag in (1, 14):
                name = data[base + value:data.index(b"\0", base + value)].decode()
                if tag == 1:
                    needed.append(name)
                else:
                    soname = name
    return Elf(soname, tuple(needed), _opens(data, shoff, shentsize, shnum, shstrndx))


def _opens(data: bytes, shoff: int, shentsize: int, shnum: int, shstrndx: int) -> dict[str, str]:
    sections = [struct.unpack_from("<IIQQQQ", data, shoff + index * shentsize) for index in range(shnum)]
    if not sections or shstrndx >= len(sections):
        return {}
    names = sections[shstrndx][4]
    opens: dict[str, str] = {}
    for name, _, _, _, offset, size in sections:
        title = data[names + name:data.index(b"\0", names + name)]
        if title != b".note.dlopen":
            continue
        at, end = offset, offset + size
        while at < end:
            name_size, body_size, _ = struct.unpack_from("<III", data, at)
            begin = at + 12 + (name_size + 3 & ~3)
            for wish in json.loads(data[begin:begin + body_size].rstrip(b"\0")):
                for soname in wish["soname"]:
                    opens[soname] = wish.get("priority", "recommended")
            at = begin + (body_size + 3 & ~3)
    return opens
