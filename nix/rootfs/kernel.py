"""The kernel's modules: those that the boards and the emulated board need.

In: the kernel's packages, kernel.toml. Out: uncompressed modules in the tree with what they depend on, and depmod's tables.
Never: a module because it is there: what is not listed, or depended on, stays out.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
import tempfile
from pathlib import Path

from debs import Deb, unpack
from tree import Entry, Tree, merged

MODULES = "usr/lib/modules"


def add_modules(tree: Tree, packages: list[Deb], table: dict) -> str:
    """Adds the modules that kernel.toml's table `modules` lists; the kernel's version."""
    found: dict[str, tuple[str, bytes, str]] = {}  # path below kernel/ without endings -> file's name, data, package
    tables: dict[str, tuple[bytes, str]] = {}
    version = ""
    for package in packages:
        for info, data in package.entries():
            path = merged(info.name.removeprefix("./"))
            if not info.isreg() or not path.startswith(MODULES + "/"):
                continue
            version, _, rest = path.removeprefix(MODULES + "/").partition("/")
            if rest.startswith("kernel/"):
                found[rest.removeprefix("kernel/").partition(".ko")[0]] = (rest, data, package.name)
            elif rest in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
                tables[rest] = (data, package.name)
    if not version:
        raise SystemExit("error: the kernel's packages have no modules")
    names = {path.rsplit("/", 1)[1].replace("-", "_"): path for path in found}
    wanted: list[str] = []
    for pattern in table["root"]:
        hits = fnmatch.filter(found, pattern)
        builtin = tables["modules.builtin"][0].decode()
        # What one kernel has as a module another has built in, or not at all; a whole pattern without a hit is a slip.
        if not hits and not any(fnmatch.fnmatch(line.removeprefix("kernel/").removesuffix(".ko"), pattern) for line in builtin.split()):
            print(f"note: the kernel {version} has no module {pattern}")
        wanted += hits
    done: set[str] = set()
    while wanted:
        path = wanted.pop()
        if path in done:
            continue
        done.add(path)
        name, data, package = found[path]
        # erofs compresses better over the whole, and a board need not undo xz for every module it loads.
        data = unpack(name, data)
        tree.put(f"{MODULES}/{version}/kernel/{path}.ko", Entry("f", 0o644, data, package=package))
        for name in depends(data):
            if name.replace("-", "_") in names:
                wanted.append(names[name.replace("-", "_")])
    for name, (data, package) in tables.items():
        tree.put(f"{MODULES}/{version}/{name}", Entry("f", 0o644, data, package=package))
    add_tables(tree, version)
    return version


def add_tables(tree: Tree, version: str) -> None:
    """Lets depmod make its tables from a copy on disk; it reads the modules and runs nothing out of them."""
    folder = f"{MODULES}/{version}"
    with tempfile.TemporaryDirectory() as scratch:
        for path, entry in tree.files():
            if path.startswith(folder + "/"):
                place = Path(scratch) / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(entry.data)
        (Path(scratch) / "lib").symlink_to("usr/lib")
        subprocess.run(["depmod", "-b", scratch, version], check=True, env={**os.environ, "LC_ALL": "C"})
        made = Path(scratch) / folder
        for name in ("dep", "dep.bin", "alias", "alias.bin", "softdep", "symbols.bin", "builtin.bin", "builtin.alias.bin", "devname", "weakdep"):
            file = made / f"modules.{name}"
            if file.exists():
                tree.put(f"{folder}/modules.{name}", Entry("f", 0o644, file.read_bytes()))
    # The text forms are for people; kmod and busybox read the others.
    for name in ("builtin.modinfo", "order"):
        tree.remove(f"{folder}/modules.{name}")


def depends(data: bytes) -> list[str]:
    """The modules that a module says it needs, softly or not."""
    needed: list[str] = []
    for line in data.split(b"\0"):
        if line.startswith(b"depends=") and len(line) > 8:
            needed += line[8:].decode().split(",")
        elif line.startswith(b"softdep="):
            needed += [word for word in line[8:].decode().replace("pre:", " ").replace("post:", " ").split()]
    return needed
