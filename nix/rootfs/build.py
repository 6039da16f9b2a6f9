"""The root file system as a tar stream, out of Debian packages and the project's own files.

In (environment): `debs`, `kernel_debs`, `firmware_debs` (files, separated by spaces), `duplex` (folder with bin/duplex),
`overlay` (folder with files of the project), `version`, `SOURCE_DATE_EPOCH`, `out` (folder); for a larger image `additions` (a table like
prune.toml whose lists are added to it) and `extra` (folders whose files are added).
Out: root.tar, packages.json (which packages have something in the root or in the boot slot), dropped.txt (which have nothing in either).
Never: runs a program or a maintainer script of the image; reads the clock, the network or the machine's own configuration.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import re
import sys
import tomllib
from pathlib import Path

import accounts
import debs
import elf
import kernel
import prune
import scripts
import slot
from effects import apply
from tree import Entry, Tree

HERE = Path(__file__).resolve().parent


def main() -> None:
    out = Path(variable("out"))
    out.mkdir(parents=True, exist_ok=True)
    epoch = int(variable("SOURCE_DATE_EPOCH"))
    packages = [debs.read(Path(name)) for name in sorted(variable("debs").split(), key=lambda name: Path(name).name)]
    packages.sort(key=lambda package: package.name)
    kernel_table = table("kernel.toml")
    kernel_all = [debs.read(Path(name)) for name in variable("kernel_debs").split()]
    kernel_packages = [package for package in kernel_all if any(fnmatch.fnmatch(package.name, pattern) for pattern in kernel_table["modules"]["packages"])]
    firmware = [debs.read(Path(name)) for name in variable("firmware_debs").split()]
    scripts.check([*packages, *kernel_packages, *firmware], HERE / "scripts.json", kernel_table["scripts"])

    rules = prune.Rules(joined(table("prune.toml")))
    tree = Tree()
    for package in [*packages, *firmware]:
        hard: dict[str, str] = {}
        if package.name in rules.table["drop-packages"]:
            continue
        for info, data in package.entries():
            if info.isdir() or not rules.unwanted(merged_name(info.name)):
                tree.add_member(info, data, package.name, hard)
        tree.resolve_hard_links({path: first for path, first in hard.items() if path not in tree}, package.name)
    version = kernel.add_modules(tree, kernel_packages, kernel_table["modules"])
    duplex = Path(variable("duplex"))
    tree.put("usr/bin/duplex", Entry("f", 0o755, (duplex / "bin/duplex").read_bytes()))
    for folder in os.environ.get("extra", "").split():
        tree.add_folder(Path(folder))
    prune.libraries(tree, rules)
    accounts.write(tree, table("accounts.toml"))
    apply(tree, variable("version"), [*packages, *firmware], rules)
    tree.add_folder(Path(variable("overlay")))
    stamp(tree, variable("version"))
    prune.links(tree)
    tree.remove_empty_folders(set(FOLDERS))
    for path, (mode, uid, gid) in FOLDERS.items():
        tree.entries[path] = Entry("d", mode, uid=uid, gid=gid)

    scripts.check_absent(tree, HERE / "scripts.json")
    no_secret(tree)
    with (out / "root.tar").open("wb") as file:
        tree.write_tar(file, epoch)
    # image/extract.py takes the same files by the same table.
    in_slot = slot.files([*kernel_all, *firmware], kernel_table["slot"])
    report(tree, [*packages, *kernel_all, *firmware], in_slot, version, out)


#: Folders that are there empty: mount points, and what is bound from the data partition.
FOLDERS = {path: (mode, 0, 0) for path, mode in {
    "dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777, "data": 0o755, "root": 0o700, "var": 0o755, "var/tmp": 0o1777,
    "var/lib": 0o755, "var/lib/systemd": 0o755, "var/lib/iwd": 0o700, "var/log": 0o755, "var/log/journal": 0o755, "var/cache": 0o755, "boot": 0o755,
    "mnt": 0o755,
}.items()} | {"var/lib/duplex": (0o700, 900, 900), "var/cache/duplex": (0o755, 900, 900)}


def stamp(tree: Tree, version: str) -> None:
    """Writes the version, and a name for this set of plugins: GStreamer's registry on the data partition bears it."""
    plugins = hashlib.sha256()
    for path, entry in tree.files():
        if path.startswith(prune.PLUGINS + "/"):
            plugins.update(path.encode() + hashlib.sha256(entry.data).digest())
    for _, entry in tree.files():
        if b"@PLUGINS@" in entry.data[:65536] and not entry.package:
            entry.data = entry.data.replace(b"@PLUGINS@", plugins.hexdigest()[:16].encode())
    for path in ("usr/lib/os-release",):
        tree[path].data = tree[path].data.replace(b"@VERSION@", version.encode())


def report(tree: Tree, packages: list[debs.Deb], in_slot: list[slot.File], version: str, out: Path) -> None:
    """Says which packages have something in the tree or in the boot slot, and how much."""
    places: dict[str, dict[str, list[int]]] = {}  # package -> root or boot -> sizes of its files
    for entry in tree.entries.values():
        if entry.kind != "d" and entry.package:
            places.setdefault(entry.package, {}).setdefault("root", []).append(len(entry.data))
    for file in in_slot:
        places.setdefault(file.package, {}).setdefault("boot", []).append(len(file.data))
    stays = [
        {"package": package.name, "version": package.version, "architecture": package.architecture,
         "source": package.fields.get("Source", package.name).split()[0]}
        | {place: {"files": len(sizes), "size": sum(sizes)} for place, sizes in places[package.name].items()}
        for package in packages if package.name in places
    ]
    (out / "packages.json").write_text(json.dumps({"kernel": version, "packages": stays}, indent=1) + "\n")
    (out / "dropped.txt").write_text("".join(f"{package.name}\n" for package in packages if package.name not in places))
    total = sum(len(entry.data) for entry in tree.entries.values())
    print(f"image: {len(stays)} packages of {len(packages)}, {len(tree.entries)} entries, {total / 1e6:.1f} MB, kernel {version}")


def joined(rules: dict) -> dict:
    """The rules with those of the larger image."""
    if os.environ.get("additions"):
        for key, more in tomllib.loads(Path(os.environ["additions"]).read_text()).items():
            rules[key] = [item for item in rules[key] if item not in more] if key == "drop-packages" else rules[key] + more
    return rules


def no_secret(tree: Tree) -> None:
    """An image never holds a private key, nor the remains of one."""
    for path, entry in tree.files():
        # Libraries have keys for testing themselves in them, which are public.
        if not elf.parse(entry.data) and re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}", entry.data):
            raise SystemExit(f"error: /{path} holds a private key")
        if re.match(r"(etc/ssh/ssh_host_|data/|root/\.ssh|var/lib/duplex/)", path):
            raise SystemExit(f"error: /{path} must not be in an image")


def merged_name(name: str) -> str:
    from tree import merged
    return merged(os.path.normpath(name).removeprefix("./"))


def table(name: str) -> dict:
    return tomllib.loads((HERE / name).read_text())


def variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SystemExit(f"error: the variable {name} is not set; see the head of {sys.argv[0]}")
    return value


if __name__ == "__main__":
    main()
