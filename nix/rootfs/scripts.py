"""Every maintainer script of the packages, and what stands for it here.

In: the packages, scripts.json. Out: nothing, or the build fails with the names of the scripts that nobody has judged.
Never: runs a script. A script that changed is a new one: its effect has to be read again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from debs import Deb

FAIL = """error: {count} maintainer scripts are new or have changed since somebody last read them:
{lines}
Read each (dpkg-deb --ctrl-tarfile FILE | tar -xO ./SCRIPT), write into nix/rootfs/scripts.json what stands for it, with its new sha256."""


def check(packages: list[Deb], table_file: Path) -> None:
    """Fails for scripts that are not in the table under their hash."""
    table: dict = json.loads(table_file.read_text())
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
    if wrong:
        raise SystemExit(FAIL.format(count=len(wrong), lines="\n".join(wrong)))
