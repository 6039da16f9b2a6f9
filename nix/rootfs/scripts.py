"""Every maintainer script of the packages, and what stands for it here.

In: the packages, scripts.json, for the kernel's packages also kernel.toml, later the tree. Out: nothing, or the build fails with the names of the scripts that nobody has judged, or whose
judgement does not fit what is in the tree. Never: runs a script. A script that changed is a new one: its effect has to be read again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from debs import Deb
from tree import Tree

FAIL = """error: {count} maintainer scripts are new or have changed since somebody last read them:
{lines}
Read each (dpkg-deb --ctrl-tarfile FILE | tar -xO ./SCRIPT), write into nix/rootfs/scripts.json (for the kernel: kernel.toml) what stands for it,
with its new sha256."""

#: A file beside the table: these packages were resolved just now, for a test of the code alone.
STALE = "stale"


def check(packages: list[Deb], table_file: Path, kernel: dict | None = None) -> None:
    """Fails for scripts that are not in the table under their hash. ``kernel``: packages of the kernel, judged in its own file."""
    table: dict = json.loads(table_file.read_text())
    table["packages"] |= kernel or {}
    wrong: list[str] = []
    for package in packages:
        for name, data in sorted(package.scripts.items()):
            digest = hashlib.sha256(data).hexdigest()
            judged = table["packages"].get(package.name, {}).get(name)
            # One and the same text in hundreds of packages is read once.
            if not judged and digest in table["any"]:
                continue
            if not judged:
                wrong.append(f"  new      {package.name} {name} sha256 {digest}  ({package.path.name})")
            elif judged["sha256"] != digest:
                wrong.append(f"  changed  {package.name} {name} sha256 {digest}  ({package.path.name})")
            elif ("ignored" in judged) == ("replaced-by" in judged):
                wrong.append(f"  unclear  {package.name} {name}: needs either \"ignored\" or \"replaced-by\"")
    if wrong and (table_file.parent / STALE).exists():
        print("STALE LOCK: " + FAIL.format(count=len(wrong), lines="\n".join(wrong)).removeprefix("error: "))
    elif wrong:
        raise SystemExit(FAIL.format(count=len(wrong), lines="\n".join(wrong)))


#: The one reason that can be proven.
ABSENT = "nothing of this package is in the image"


def check_absent(tree: Tree, table_file: Path) -> None:
    """Fails if a package whose scripts are passed over because nothing of it stays has something in the tree after all."""
    table: dict = json.loads(table_file.read_text())
    there = {entry.package: path for path, entry in tree.entries.items() if entry.kind != "d"}
    wrong = [f"  {name}: /{there[name]}" for name, scripts in sorted(table["packages"].items())
             if name in there and any(judged.get("ignored") == ABSENT for judged in scripts.values())]
    if wrong:
        raise SystemExit("error: nix/rootfs/scripts.json says that nothing of these packages is in the image:\n" + "\n".join(wrong))
