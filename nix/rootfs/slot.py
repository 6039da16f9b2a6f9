"""What of the packages goes into the boot slot: kernel, device trees, the board's firmware.

In: the packages of kernel and firmware, the table `slot` of kernel.toml. Out: files by their names in the slot, each with its package.
Never: a file that the table does not name, or a slot without one that it names.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from debs import Deb
from tree import merged


@dataclass(frozen=True)
class File:
    """One file of the slot."""

    name: str
    data: bytes
    package: str


def files(packages: list[Deb], table: dict[str, list[str]]) -> list[File]:
    """The slot's files, in order of their names. A pattern that fits no file, or several, is a fault: it would be another kernel's."""
    found: dict[str, list[str]] = {pattern: [] for pattern in table}
    taken: list[File] = []
    for package in packages:
        for info, data in package.entries():
            path = merged(info.name.removeprefix("./"))
            for pattern, names in table.items():
                if info.isreg() and fnmatch.fnmatchcase(path, pattern):
                    found[pattern].append(f"{package.name}: {path}")
                    taken += [File(name, data, package.name) for name in names]
    for pattern, hits in found.items():
        if len(hits) != 1:
            raise SystemExit(f"error: the boot slot takes one {pattern}, the packages have {len(hits)}{': ' if hits else ''}{', '.join(hits)}")
    return sorted(taken, key=lambda file: file.name)
