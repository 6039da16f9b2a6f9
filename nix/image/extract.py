"""Unpacks what the boot slot needs out of packages: `extract.py FOLDER DEB...`.

In: kernel and firmware packages, the tables `slot` and `firmware` of nix/rootfs/kernel.toml, config.txt. Out: vmlinuz, device trees and
firmware in FOLDER, by their names in the slot, and its config.txt. Never: runs anything; takes a file that the root's list of packages does
not count (it goes by the same table).
"""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOTFS = HERE.parent / "rootfs"
sys.path.insert(0, str(ROOTFS))
import debs  # noqa: E402
import slot  # noqa: E402

folder = Path(sys.argv[1])
table: dict = tomllib.loads((ROOTFS / "kernel.toml").read_text())
for file in slot.files([debs.read(Path(name)) for name in sys.argv[2:]], table["slot"]):
    (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
    (folder / file.name).write_bytes(file.data)
lines = table["firmware"]["config"]
(folder / "config.txt").write_text((HERE / "config.txt").read_text() + "".join(f"{line}\n" for line in ["# Of nix/rootfs/kernel.toml:", *lines] if lines))
