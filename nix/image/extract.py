"""Unpacks what the boot slot needs out of packages: `extract.py FOLDER DEB...`.

In: kernel and firmware packages. Out: vmlinuz, device trees and firmware files below FOLDER. Never: runs anything.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "rootfs"))
import debs  # noqa: E402

folder = Path(sys.argv[1])
for name in sys.argv[2:]:
    for info, data in debs.read(Path(name)).entries():
        path = info.name.removeprefix("./")
        if info.isreg() and (path.endswith("/vmlinuz") or "/dtb/broadcom/" in path or path.startswith("usr/lib/raspi-firmware/")):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
