"""The initramfs: busybox, a few tools with their libraries, the modules of the card, and the scripts `init` and `erase`.

In (environment): `root_tar` (the root file system), `SOURCE_DATE_EPOCH`, `out` (folder).
Out: initramfs.zst. Never: a file that is not also in the root file system, but for those scripts; an inode number, owner or time of the
machine that builds.
"""

from __future__ import annotations

import os
import posixpath
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "rootfs"))

import elf  # noqa: E402
from tree import Entry, Tree  # noqa: E402

TOOLS = ("usr/sbin/dmsetup", "usr/sbin/e2fsck", "usr/sbin/resize2fs", "usr/sbin/mke2fs", "usr/sbin/sfdisk")
APPLETS = ("sh", "mount", "umount", "modprobe", "cat", "echo", "find", "sort", "grep", "sed", "head", "tail", "od", "tr", "ls", "rm", "mv", "mkdir", "chown",
           "chmod", "sync", "sleep", "reboot", "basename", "blockdev", "blkdiscard", "dd", "switch_root",
           "printf", "[")


def main() -> None:
    root = load(Path(os.environ["root_tar"]))
    table = tomllib.loads((HERE.parent / "rootfs/kernel.toml").read_text())["modules"]
    tree = Tree()
    for path in ("dev", "proc", "sys", "run", "root", "tmp", "etc"):
        tree.put(path, Entry("d", 0o755))
    tree.put("init", Entry("f", 0o755, (HERE / "init").read_bytes()))
    tree.put("erase", Entry("f", 0o644, (HERE / "erase").read_bytes()))
    tree.put("etc/mke2fs.conf", root["etc/mke2fs.conf"])
    tree.put("lib", Entry("l", 0o777, target="usr/lib"))
    tree.entries["bin"] = Entry("d", 0o755)
    tree.entries["bin/busybox"] = Entry("f", 0o755, root["usr/bin/busybox"].data)
    for name in APPLETS:
        tree.entries[f"bin/{name}"] = Entry("l", 0o777, target="busybox")
    for path in TOOLS:
        add_program(tree, root, path)
    modules(tree, root, table)
    out = Path(os.environ["out"])
    out.mkdir(parents=True, exist_ok=True)
    archive = cpio(tree, int(os.environ["SOURCE_DATE_EPOCH"]))
    packed = subprocess.run(["zstd", "-q", "-19", "-T1", "-c"], input=archive, stdout=subprocess.PIPE, check=True).stdout
    (out / "initramfs.zst").write_bytes(packed)
    print(f"initramfs: {len(tree.entries)} entries, {len(archive) / 1e6:.1f} MB, {len(packed) / 1e6:.1f} MB packed")


def load(path: Path) -> Tree:
    """The root file system, as it was written."""
    tree = Tree()
    with tarfile.open(path) as archive:
        for info in archive:
            body = archive.extractfile(info) if info.isreg() else None
            kind = "d" if info.isdir() else "l" if info.issym() else "f"
            if info.name == ".":
                continue
            tree.entries[info.name] = Entry(kind, info.mode, body.read() if body else b"", info.linkname)
    return tree


def add_program(tree: Tree, root: Tree, path: str) -> None:
    """A program, its loader and the libraries it needs, each under the name it is asked for."""
    real = root.resolve(path)
    if not real:
        raise SystemExit(f"error: the root file system has no {path}, which the initramfs needs")
    tree.entries[f"bin/{posixpath.basename(path)}"] = Entry("f", 0o755, root[real].data)
    waiting = [root[real].data]
    while waiting:
        parsed = elf.parse(waiting.pop())
        for name in parsed.needed if parsed else ():
            place = f"usr/lib/aarch64-linux-gnu/{name}" if not name.startswith("ld-linux") else f"usr/lib/{name}"
            if place in tree.entries:
                continue
            library = root.resolve(f"usr/lib/aarch64-linux-gnu/{name}") or root.resolve(f"usr/lib/{name}")
            if not library:
                raise SystemExit(f"error: {path} needs {name}, which the root file system does not have")
            tree.put(place, Entry("f", 0o755, root[library].data))
            waiting.append(root[library].data)
    loader = root.resolve("usr/lib/ld-linux-aarch64.so.1")
    tree.put("usr/lib/ld-linux-aarch64.so.1", Entry("f", 0o755, root[loader].data))


def modules(tree: Tree, root: Tree, table: dict) -> None:
    """The modules of kernel.toml's `early` lists, with what they depend on, and the tables cut down to them."""
    folder = next(path for path in root.entries if path.startswith("usr/lib/modules/") and path.count("/") == 3)
    depends = dict(line.split(":", 1) for line in root[f"{folder}/modules.dep"].data.decode().splitlines())
    names = {posixpath.basename(path).removesuffix(".ko").replace("-", "_"): path for path in depends}
    waiting = [names[name] for name in [*table["early"], *table["early-hardware"]] if name in names]
    taken: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path not in taken:
            taken.add(path)
            tree.put(f"{folder}/{path}", root[f"{folder}/{path}"])
            waiting.extend(depends[path].split())
    lines = [f"{path}:{depends[path]}" for path in sorted(taken)]
    tree.put(f"{folder}/modules.dep", Entry("f", 0o644, ("\n".join(lines) + "\n").encode()))
    stems = {posixpath.basename(path).removesuffix(".ko").replace("-", "_") for path in taken}
    alias = [line for line in root[f"{folder}/modules.alias"].data.decode().splitlines() if line.rsplit(" ", 1)[-1] in stems]
    tree.put(f"{folder}/modules.alias", Entry("f", 0o644, ("\n".join(alias) + "\n").encode()))
    tree.put("early", Entry("f", 0o644, ("\n".join(table["early"]) + "\n").encode()))


def cpio(tree: Tree, time: int) -> bytes:
    """The `newc` archive: sorted, numbered from 1, owned by root."""
    out = bytearray()
    types = {"d": 0o040000, "f": 0o100000, "l": 0o120000}
    entries = [*sorted(tree.entries.items()), ("TRAILER!!!", Entry("f", 0))]
    for number, (path, entry) in enumerate(entries, 1):
        data = entry.target.encode() if entry.kind == "l" else entry.data
        last = path == "TRAILER!!!"
        fields = [0 if last else number, 0 if last else types[entry.kind] | entry.mode, 0, 0, 1, 0 if last else time, len(data), 0, 0, 0, 0, len(path.encode()) + 1, 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return bytes(out) + b"\0" * (-len(out) % 512)


if __name__ == "__main__":
    main()
