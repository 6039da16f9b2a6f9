"""Unpacks what the boot slot needs out of packages: `extract.py FOLDER DEB...`.

In: kernel and firmware packages, the table `slot` of nix/rootfs/kernel.toml. Out: vmlinuz, device trees and firmware in FOLDER, by their
names in the slot. Never: runs anything; takes a file that the root's list of packages does not count (it goes by the same table).
"""

import sys
import tomllib
from pathlib import Path

ROOTFS = Path(__file__).resolve().parent.parent / "rootfs"
sys.path.insert(0, str(ROOTFS))
import debs  # noqa: E402
import slot  # noqa: E402

table: dict = tomllib.loads((ROOTFS / "kernel.toml").read_text())
for file in slot.files([debs.read(Path(name)) for name in sys.argv[2:]], table["slot"]):
    (Path(sys.argv[1]) / file.name).write_bytes(file.data)
