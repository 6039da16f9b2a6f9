"""The components of an image, out of the locks and of what was found to be in it.

In: the list of Debian packages in root and boot slot, the lists of crates in each program, and the locks, which have the hashes.
Out: parts, in order, each once. Never: a part that no lock has, or one under two hashes: then there is no bill of materials.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, order=True)
class Part:
    """One component."""

    kind: str  # deb, cargo or npm
    name: str
    version: str
    purl: str
    #: Algorithm as SPDX writes it, and the hash in hexadecimal; or nothing.
    checksum: tuple[str, str] | None = None
    licence: str = "NOASSERTION"

    @property
    def ref(self) -> str:
        """Its name within an SPDX document."""
        return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{self.kind}-{self.name}-{self.version}")


def deb(entry: dict) -> Part:
    """A package as the lock names it. One that was given as a file is not Debian's."""
    name, version, arch = entry["package"], entry["version"], entry["architecture"]
    origin = "pkg:generic" if entry.get("suite") == "file" else "pkg:deb/debian"
    return Part("deb", name, version, f"{origin}/{quote(name)}@{quote(version, safe='')}?arch={arch}", ("SHA256", entry["sha256"]))


def debs(packages: Path, lock: Path) -> list[Part]:
    """The Debian packages that have something in the root or the boot slot."""
    locked = {(entry["package"], entry["version"], entry["architecture"]): entry for entry in entries(lock)}
    parts = []
    for entry in json.loads(packages.read_text())["packages"]:
        key = entry["package"], entry["version"], entry["architecture"]
        if key not in locked:
            raise SystemExit(f"error: {' '.join(key)} is in the image, but not in {lock.name}")
        parts.append(deb(locked[key]))
    return parts


def linked(names: list[str], lock: Path) -> list[Part]:
    """Debian packages that are in the programs because the compiler links them in: NAME:ARCHITECTURE each."""
    parts = []
    for name in names:
        found = [entry for entry in entries(lock) if f"{entry['package']}:{entry['architecture']}" == name]
        if len(found) != 1:
            raise SystemExit(f"error: {lock.name} has {name} {len(found)} times; it is linked into the programs in one version")
        parts.append(deb(found[0]))
    return parts


def entries(lock: Path) -> list[dict]:
    return list(json.loads(lock.read_text())["packages"].values())


def crates(trees: list[Path], locks: list[Path]) -> list[Part]:
    """The crates of the programs: what the lists name, one "NAME vVERSION" a line, with the hashes of the locks."""
    locked: dict[tuple[str, str], dict] = {}
    for lock in locks:
        for entry in tomllib.loads(lock.read_text())["package"]:
            if locked.setdefault((entry["name"], entry["version"]), entry).get("checksum") != entry.get("checksum"):
                raise SystemExit(f"error: {entry['name']} {entry['version']} has two hashes in the locks")
    parts = []
    for tree in trees:
        for line in tree.read_text().splitlines():
            match = re.fullmatch(r"(\S+) v(\S+)", line)
            if not match or match.groups() not in locked:
                raise SystemExit(f"error: {tree.name} has {line!r}, which no Cargo.lock has")
            name, version = match.groups()
            checksum = locked[name, version].get("checksum")
            parts.append(Part("cargo", name, version, f"pkg:cargo/{name}@{quote(version, safe='')}", ("SHA256", checksum) if checksum else None))
    return parts


def npm(lock: Path) -> list[Part]:
    """The npm packages in the page: those that are not for building it."""
    parts = []
    for path, entry in json.loads(lock.read_text())["packages"].items():
        if not path or entry.get("dev") or entry.get("optional"):
            continue
        name = path.rsplit("node_modules/", 1)[1]
        checksum = None
        if entry.get("integrity", "").startswith("sha512-"):
            checksum = ("SHA512", base64.b64decode(entry["integrity"][7:]).hex())
        licence = entry.get("license", "NOASSERTION")
        parts.append(Part("npm", name, entry["version"], f"pkg:npm/{quote(name, safe='/')}@{entry['version']}", checksum, licence))
    return parts


def joined(*lists: list[Part]) -> list[Part]:
    """All of them in order; what several programs have is one part."""
    parts = sorted({part for parts in lists for part in parts}, key=lambda part: part.purl)
    for what in ("purl", "ref"):
        names = [getattr(part, what) for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise SystemExit(f"error: different components have one name: {', '.join(twice)}")
    return parts
