"""Debian packages as files: what is in them, and their scripts.

In: paths of .deb files. Out: control fields, maintainer scripts, and the entries of the data archive in order.
Never: runs anything out of a package, or writes to disk.
"""

from __future__ import annotations

import io
import lzma
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

#: Members of the control archive that would run, or make dpkg run something, when the package is installed.
SCRIPTS = ("preinst", "postinst", "config", "triggers")


@dataclass(frozen=True)
class Deb:
    """One package file."""

    path: Path
    name: str
    version: str
    architecture: str
    fields: dict[str, str]
    #: Name of the script to its bytes; of those in SCRIPTS only.
    scripts: dict[str, bytes]

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """Every member of the data archive with its content."""
        with tarfile.open(fileobj=io.BytesIO(member(self.path, "data.tar"))) as archive:
            for info in archive:
                body = archive.extractfile(info) if info.isreg() else None
                yield info, body.read() if body else b""


def read(path: Path) -> Deb:
    """Reads the control part of a package."""
    scripts: dict[str, bytes] = {}
    fields: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(member(path, "control.tar"))) as archive:
        for info in archive:
            body = archive.extractfile(info) if info.isreg() else None
            name = info.name.removeprefix("./")
            if body and name in SCRIPTS:
                scripts[name] = body.read()
            elif body and name == "control":
                fields = control(body.read().decode())
    return Deb(path, fields["Package"], fields["Version"], fields["Architecture"], fields, scripts)


def control(text: str) -> dict[str, str]:
    """The fields of one stanza; continuation lines keep their line breaks."""
    fields: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line[:1] in (" ", "\t"):
            fields[last] += "\n" + line
        elif ":" in line:
            last, value = line.split(":", 1)
            fields[last] = value.strip()
    return fields


def member(path: Path, prefix: str) -> bytes:
    """The uncompressed archive whose name begins with ``prefix`` out of the ar archive that a .deb is."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise SystemExit(f"error: {path} is not a Debian package")
        while head := file.read(60):
            name, size = head[:16].decode().rstrip(" /"), int(head[48:58])
            if name.startswith(prefix):
                return unpack(name, file.read(size))
            file.seek(size + size % 2, io.SEEK_CUR)
    raise SystemExit(f"error: {path} has no {prefix}")


def unpack(name: str, data: bytes) -> bytes:
    """Undoes the compression that the ending of ``name`` says."""
    if name.endswith(".xz"):
        return lzma.decompress(data)
    if name.endswith(".zst"):
        return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    if name.endswith(".gz"):
        return subprocess.run(["gzip", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data
