"""A file system tree in memory.

In: entries of packages, files of the project. Out: a tar stream with owner, mode and time as the image has them.
Never: files on disk: the Nix sandbox forbids setuid bits and other owners, a tar stream has both.
"""

from __future__ import annotations

import io
import posixpath
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator


@dataclass
class Entry:
    """A folder, a file or a symbolic link."""

    kind: str  # "d", "f" or "l"
    mode: int
    data: bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0
    #: Package that it comes from; "" is the project itself.
    package: str = ""


class Tree:
    """Path, without a leading slash, to entry."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def __contains__(self, path: str) -> bool:
        return path in self.entries

    def __getitem__(self, path: str) -> Entry:
        return self.entries[path]

    def files(self) -> Iterator[tuple[str, Entry]]:
        """Regular files, in order of their paths."""
        return ((path, entry) for path, entry in sorted(self.entries.items()) if entry.kind == "f")

    def put(self, path: str, entry: Entry) -> None:
        """Adds an entry and the folders above it."""
        path = merged(path)
        old = self.entries.get(path)
        if entry.kind == "d" and old:
            # base-files ships /bin as a link to usr/bin, others may ship it as a folder: the link stays.
            if old.kind != "l" and entry.package == "":
                self.entries[path] = entry
            return
        parent = posixpath.dirname(path)
        while parent and parent not in self.entries:
            self.entries[parent] = Entry("d", 0o755, package=entry.package)
            parent = posixpath.dirname(parent)
        self.entries[path] = entry

    def add_member(self, info: tarfile.TarInfo, data: bytes, package: str, hard: dict[str, str]) -> None:
        """Adds a member of a package's data archive. ``hard`` remembers hard links, which become copies."""
        path = posixpath.normpath(info.name).removeprefix("./").lstrip("/")
        if path == ".":
            return
        mode = info.mode & 0o7777
        owner = {"uid": info.uid, "gid": info.gid, "package": package}
        if info.isdir():
            self.put(path, Entry("d", mode, **owner))
        elif info.issym():
            self.put(path, Entry("l", 0o777, target=info.linkname, **owner))
        elif info.islnk():
            hard[merged(path)] = merged(posixpath.normpath(info.linkname))
        elif info.isreg():
            self.put(path, Entry("f", mode, data, **owner))
        else:
            raise SystemExit(f"error: {package} has the special file {path}, which an image cannot have")

    def resolve_hard_links(self, hard: dict[str, str], package: str) -> None:
        """Turns hard links into symbolic ones; erofs would store the bytes twice."""
        for path, first in hard.items():
            self.put(path, Entry("l", 0o777, target="/" + first, package=package))

    def add_folder(self, folder: Path) -> None:
        """Adds the project's own files; executable ones keep that bit, everything else is root's and plain."""
        for item in sorted(folder.rglob("*")):
            path = item.relative_to(folder).as_posix()
            if item.is_symlink():
                self.put(path, Entry("l", 0o777, target=item.readlink().as_posix()))
            elif item.is_dir():
                if path not in self.entries:
                    self.put(path, Entry("d", 0o755))
            else:
                self.put(path, Entry("f", 0o755 if item.stat().st_mode & 0o100 else 0o644, item.read_bytes()))

    def remove(self, path: str) -> None:
        """Removes an entry and all beneath it."""
        self.entries.pop(path, None)
        beneath = path + "/"
        for other in [other for other in self.entries if other.startswith(beneath)]:
            del self.entries[other]

    def remove_empty_folders(self, keep: set[str]) -> None:
        """Removes folders in which nothing is left, from the inside out, except ``keep``."""
        inside = Counter(posixpath.dirname(path) for path in self.entries)
        for path in sorted(self.entries, key=lambda path: path.count("/"), reverse=True):
            if self.entries[path].kind == "d" and not inside[path] and path not in keep:
                del self.entries[path]
                inside[posixpath.dirname(path)] -= 1

    def resolve(self, path: str) -> str | None:
        """Path of the file or folder that a path leads to over symbolic links; ``None`` if there is none."""
        for _ in range(40):
            parts, done = path.split("/"), ""
            for index, part in enumerate(parts):
                here = f"{done}/{part}".lstrip("/")
                entry = self.entries.get(here)
                if entry and entry.kind == "l":
                    rest = "/".join(parts[index + 1:])
                    target = entry.target if entry.target.startswith("/") else f"/{done}/{entry.target}"
                    path = posixpath.normpath(f"{target}/{rest}").strip("/")
                    break
                done = here
            else:
                return done if done in self.entries else None
        return None

    def write_tar(self, file: BinaryIO, time: int) -> None:
        """The tree as a tar stream in order of the paths."""
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.GNU_FORMAT) as archive:
            # The root folder itself: without an entry it would be open to everybody.
            for path, entry in [(".", Entry("d", 0o755)), *sorted(self.entries.items())]:
                info = tarfile.TarInfo(path)
                info.mtime, info.mode, info.uid, info.gid = time, entry.mode, entry.uid, entry.gid
                if entry.kind == "d":
                    info.type = tarfile.DIRTYPE
                    archive.addfile(info)
                elif entry.kind == "l":
                    info.type, info.linkname = tarfile.SYMTYPE, entry.target
                    archive.addfile(info)
                else:
                    info.size = len(entry.data)
                    archive.addfile(info, io.BytesIO(entry.data))


def merged(path: str) -> str:
    """The path where /bin, /sbin and /lib are links into /usr."""
    first, slash, rest = path.partition("/")
    return f"usr/{first}/{rest}" if slash and first in ("bin", "sbin", "lib") else path
