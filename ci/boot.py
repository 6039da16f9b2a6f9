"""The firmware's part for the emulated board: which slot starts, and what is in it.

In: an image (or its .zst unpacked), whether it is a try. Out: kernel, initramfs, command line and slot number as the board's
firmware finds them: MBR, autoboot.txt on the first partition, config.txt and the files it names on the chosen one.
Never: writes to the image, or knows a file name that config.txt does not say.

    python3 ci/boot.py IMAGE FOLDER [--try]    writes kernel, initramfs, cmdline into FOLDER; prints the slot
    python3 ci/boot.py IMAGE --put NAME FILE   writes a file onto the first partition, as a person would with the card in a computer
    python3 ci/boot.py IMAGE --get NAME        prints a file of the first partition
"""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator

SECTOR = 512


@dataclass(frozen=True)
class Partition:
    """One entry of the table; sectors."""

    number: int
    kind: int
    start: int
    size: int


def partitions(file: BinaryIO) -> dict[int, Partition]:
    """The MBR's partitions by number, logical ones too."""
    found: dict[int, Partition] = {}
    for index, (kind, start, size) in enumerate(_entries(file, 0), 1):
        if kind:
            found[index] = Partition(index, kind, start, size)
    extended = next((part for part in found.values() if part.kind in (5, 15)), None)
    at, number = (extended.start if extended else 0), 5
    # A card that was not written to its end has no more of the chain; the kernel takes what is there.
    while at and (entries := _entries(file, at, required=False)):
        own, following = entries[:2]
        if own[0]:
            found[number] = Partition(number, own[0], at + own[1], own[2])
            number += 1
        at = extended.start + following[1] if extended and following[0] else 0
    return found


def _entries(file: BinaryIO, sector: int, required: bool = True) -> list[tuple[int, int, int]]:
    file.seek(sector * SECTOR)
    block = file.read(SECTOR)
    if not required and len(block) < SECTOR:
        return []
    if block[510:] != b"\x55\xaa":
        raise SystemExit(f"error: sector {sector} is no partition table")
    table = [struct.unpack_from("<4xB3xII", block, 446 + 16 * index) for index in range(4)]
    return [(kind, start, size) for kind, start, size in table]


class Fat:
    """A FAT32 file system, read only."""

    def __init__(self, file: BinaryIO, start: int):
        self.file, self.start = file, start * SECTOR
        head = self._at(0, SECTOR)
        sector, self.cluster_sectors, reserved, copies = struct.unpack_from("<HBHB", head, 11)
        size, self.root = struct.unpack_from("<I4xI", head, 36)
        if sector != SECTOR or not size or head[510:] != b"\x55\xaa":
            raise SystemExit("error: the partition is no FAT32 file system")
        self.data = (reserved + copies * size) * SECTOR
        table = self._at(reserved * SECTOR, size * SECTOR)
        self.table = struct.unpack(f"<{len(table) // 4}I", table)

    def _at(self, offset: int, length: int) -> bytes:
        self.file.seek(self.start + offset)
        return self.file.read(length)

    def _chain(self, cluster: int) -> bytes:
        parts, length = [], self.cluster_sectors * SECTOR
        while 2 <= cluster < 0x0FFFFFF8:
            parts.append(self._at(self.data + (cluster - 2) * length, length))
            cluster = self.table[cluster] & 0x0FFFFFFF
        return b"".join(parts)

    def listing(self, cluster: int) -> Iterator[tuple[str, bool, int, int]]:
        """Name, whether it is a folder, first cluster, size."""
        long = ""
        block = self._chain(cluster)
        for at in range(0, len(block), 32):
            entry = block[at:at + 32]
            if entry[0] == 0:
                return
            if entry[11] == 0x0F:
                part = (entry[1:11] + entry[14:26] + entry[28:32]).decode("utf-16-le", "replace").split("\0")[0].rstrip("\uffff")
                long = part + long
                continue
            if entry[0] != 0xE5 and not entry[11] & 8:
                stem, ending = entry[:8].decode("ascii", "replace").rstrip(), entry[8:11].decode("ascii", "replace").rstrip()
                if entry[12] & 0x08:
                    stem = stem.lower()
                if entry[12] & 0x10:
                    ending = ending.lower()
                high, low, size = struct.unpack_from("<H4xHI", entry, 20)
                yield long or (f"{stem}.{ending}" if ending else stem), bool(entry[11] & 16), high << 16 | low, size
            long = ""

    def read(self, path: str) -> bytes | None:
        """A file, whatever the case of its name; ``None`` if it is not there."""
        cluster, parts = self.root, path.strip("/").split("/")
        for index, part in enumerate(parts):
            hit = next((item for item in self.listing(cluster) if item[0].lower() == part.lower()), None)
            if not hit:
                return None
            _, folder, cluster, size = hit
            if index == len(parts) - 1:
                return None if folder else self._chain(cluster)[:size]
        return None


def chosen(autoboot: str, trial: bool) -> int:
    """The partition that autoboot.txt names: [all], and [tryboot] over it when this is a try."""
    section, partition = "all", 2
    for line in autoboot.splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("boot_partition=") and (section == "all" or section == "tryboot" and trial):
            partition = int(line.split("=", 1)[1])
    return partition


@dataclass(frozen=True)
class Start:
    """What a start is made of."""

    slot: int
    kernel: bytes
    initramfs: bytes
    cmdline: str


def start(image: Path, trial: bool = False) -> Start:
    """Follows the firmware's steps."""
    with image.open("rb") as file:
        table = partitions(file)
        autoboot = Fat(file, table[1].start).read("autoboot.txt")
        slot = chosen((autoboot or b"").decode(), trial)
        fat = Fat(file, table[slot].start)
        config = (fat.read("config.txt") or b"").decode()
        names = {"kernel": "kernel8.img", "cmdline": "cmdline.txt"}
        for line in config.splitlines():
            word, _, value = line.strip().partition(" " if line.startswith("initramfs ") else "=")
            if word == "initramfs":
                names["initramfs"] = value.split()[0]
            elif word in names:
                names[word] = value
        parts = {key: fat.read(name) for key, name in names.items()}
        for key, body in parts.items():
            if body is None:
                raise SystemExit(f"error: slot {slot} has no {names[key]}")
        return Start(slot, parts["kernel"], parts.get("initramfs") or b"", parts["cmdline"].decode().strip())


def card(image: Path) -> str:
    """The first partition in the form mtools takes: IMAGE@@OFFSET."""
    with image.open("rb") as file:
        return f"{image}@@{partitions(file)[1].start * SECTOR}"


def put(image: Path, name: str, text: bytes) -> None:
    """Writes a file onto the first partition."""
    subprocess.run(["mcopy", "-D", "o", "-i", card(image), "-", f"::{name}"], input=text, check=True, env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"})


def get(image: Path, name: str) -> bytes | None:
    """Reads a file of the first partition."""
    with image.open("rb") as file:
        return Fat(file, partitions(file)[1].start).read(name)


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--try"]
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return
    image = Path(words[0])
    if len(words) == 4 and words[1] == "--put":
        put(image, words[2], Path(words[3]).read_bytes())
    elif len(words) == 3 and words[1] == "--get":
        body = get(image, words[2])
        if body is None:
            raise SystemExit(f"error: the card has no {words[2]}")
        sys.stdout.buffer.write(body)
    elif len(words) == 2:
        found, folder = start(image, "--try" in sys.argv), Path(words[1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "kernel").write_bytes(found.kernel)
        (folder / "initramfs").write_bytes(found.initramfs)
        (folder / "cmdline").write_text(f"{found.cmdline} duplex.partition={found.slot}")
        print(found.slot)
    else:
        raise SystemExit("error: see ci/boot.py --help")


if __name__ == "__main__":
    main()
