"""A factory reset: nothing of the old data can be read from the device, whatever the device does with a discard, and after a power cut."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

pytestmark = pytest.mark.beside

TOP = Path(__file__).resolve().parent.parent
SECRET = b"-----BEGIN PRIVATE KEY----- of the old owner"
MIB = 1 << 20
#: Two groups of ext4, and an end that is no whole MiB.
SIZE = 160 * MIB + 3 * 512
GROUP = 128 * MIB


def applets() -> list[str]:
    """The programs of busybox that the initramfs has."""
    tree = ast.parse((TOP / "nix/initramfs/build.py").read_text())
    return next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "APPLETS")


def busybox() -> str | None:
    """One of this machine, or the one that `nix/fetch` unpacks for the build of the image."""
    cache = Path(os.environ.get("DUPLEX_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duplex")
    return shutil.which("busybox") or next((str(path) for path in [cache / "duplex-busybox/busybox"] if path.exists()), None)


@pytest.fixture(params=["busybox", "sh"])
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the initramfs's programs and no others; of busybox, and of this machine where there is none."""
    folder, found = tmp_path / "bin", busybox()
    folder.mkdir()
    if request.param == "busybox" and not found:
        pytest.skip("there is no busybox here: nix/fetch gets it")
    for name in applets():
        place = found if request.param == "busybox" else shutil.which(name)
        if place:
            (folder / name).symlink_to(place)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A file system with a secret in it."""
    folder, image = tmp_path / "old", tmp_path / "data.img"
    folder.mkdir()
    (folder / "ca.key").write_bytes(SECRET * 1000)
    with image.open("wb") as file:
        file.truncate(SIZE)
    mke2fs = shutil.which("mke2fs", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    assert mke2fs, "e2fsprogs is wanted"
    subprocess.run([mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-d", folder, image], check=True)
    assert SECRET in image.read_bytes() and magic(image, 1024) and magic(image, GROUP)
    yield image
    image.unlink()


def magic(image: Path, at: int) -> bool:
    with image.open("rb") as file:
        file.seek(at + 56)
        return file.read(2) == b"\x53\xef"


def erase(programs: Path, device: Path, size: int, blkdiscard: str = "") -> tuple[bool, str]:
    """Runs it as `init` does; ``blkdiscard``: what stands for the device's discard. Whether all is erased, and what it said."""
    script = f"""
        say() {{ echo "$*"; }}
        # Eleven seconds have gone at each look.
        seconds() {{ printf '\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n\\n' >> {programs}/clock; sed -n '$=' {programs}/clock; }}
        . {TOP}/nix/initramfs/erase
        {f"blkdiscard() {{ {blkdiscard} }}" if blkdiscard else ""}
        erase {device} {size}"""
    done = subprocess.run([programs / "sh", "-c", script], env={"PATH": str(programs)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stdout
    return done.returncode == 0, done.stdout


@pytest.mark.parametrize("blkdiscard", ["", ":;", "return 1;"], ids=["none", "that does nothing", "that fails"])
def test_without_a_discard_all_is_overwritten(programs: Path, data: Path, blkdiscard: str) -> None:
    done, said = erase(programs, data, SIZE, blkdiscard)
    assert done and "erased: the old data is overwritten" in said, said
    assert data.read_bytes() == bytes(SIZE), "something is left, or the size is another"
    # 64 MiB each.
    assert [line for line in said.splitlines() if line.startswith("erasing")][:2] == ["erasing: 67 of 167 MB", "erasing: 134 of 167 MB"], said


def test_a_discard_that_leaves_one_copy_is_none(programs: Path, data: Path) -> None:
    done, said = erase(programs, data, SIZE, 'dd if=/dev/zero of="$1" bs=4096 count=1 conv=notrunc 2>/dev/null;')
    assert done and "is overwritten" in said and data.read_bytes() == bytes(SIZE), said


def test_a_discard_that_works_is_enough_but_for_the_ends(programs: Path, data: Path) -> None:
    with data.open("r+b") as file:
        file.seek(SIZE - len(SECRET))
        file.write(SECRET)
    with data.open("r+b") as file:
        file.seek(64 * MIB)
        file.write(b"not looked at")
    # A device that discards whole units of 8 MiB only.
    whole = SIZE // (8 * MIB)
    wiped = f'for unit in 0 16; do dd if=/dev/zero of="$1" bs={8 * MIB} seek=$unit count=1 conv=notrunc 2>/dev/null; done;'
    assert whole == 20
    done, said = erase(programs, data, SIZE, wiped)
    assert done and "the card has discarded" in said and "overwritten" not in said, said
    left = data.read_bytes()
    assert b"not looked at" in left and left[: 16 * MIB] == bytes(16 * MIB)
    assert left[-16 * MIB :] == bytes(16 * MIB) and len(left) == SIZE


def test_after_a_power_cut_it_is_not_taken_for_done(programs: Path, data: Path) -> None:
    """The cut came when all copies were overwritten and the rest was not: the discard that \"works\" then proves nothing."""
    with data.open("r+b") as file:
        for at in (1024, GROUP):
            file.seek(at)
            file.write(bytes(1024))
    assert SECRET in data.read_bytes()
    done, said = erase(programs, data, SIZE, ":;")
    assert done and "is overwritten" in said and SECRET not in data.read_bytes(), said


def test_a_card_that_does_not_take_it_is_told(programs: Path, data: Path) -> None:
    assert not erase(programs, Path("/dev/full"), 2 * MIB)[0]
    # A worn card says that it has written, and has not.
    done, said = erase(programs, data, SIZE, ':; }; dd() { case $* in *if=/dev/zero*) ;; *) command dd "$@" ;; esac;')
    assert not done and "erased" not in said and SECRET in data.read_bytes(), said


def test_the_discard_of_a_device(programs: Path, data: Path) -> None:
    """A loop device passes a discard on to its file."""
    if not (programs / "blkdiscard").exists() or os.geteuid() != 0 or not shutil.which("losetup"):
        pytest.skip("no blkdiscard, or not root: no loop device")
    loop = subprocess.run(["losetup", "--find", "--show", data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if loop.returncode != 0:
        pytest.skip(f"no loop device: {loop.stdout.strip()}")
    try:
        done, said = erase(programs, Path(loop.stdout.strip()), SIZE)
    finally:
        subprocess.run(["losetup", "--detach", loop.stdout.strip()], check=True)
    assert done and "the card has discarded" in said and SECRET not in data.read_bytes(), said
