"""The bills of materials: what goes into the boot slot is counted, what the compiler links in is named, and no component is guessed.

The real bills of a built image are held against a running board in ci/appliance/test_bills.py.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator

import pytest

import bills

NIX = Path(__file__).resolve().parent.parent / "nix"
sys.path[:0] = [str(NIX / "rootfs"), str(NIX / "sbom"), str(NIX / "image")]

import build  # noqa: E402
import manifest  # noqa: E402
import sbom  # noqa: E402
import slot  # noqa: E402
from tree import Entry, Tree  # noqa: E402

pytestmark = pytest.mark.beside

SLOT = {"usr/lib/modules/*/vmlinuz": ["vmlinuz"], "usr/lib/modules/*/dtb/some.dtb": ["some.dtb", "same.dtb"], "usr/lib/raspi-firmware/start4.elf": ["start4.elf"]}


@dataclass
class Package:
    """As far as slot and report look at one."""

    name: str
    content: dict[str, bytes] = field(default_factory=dict)
    version: str = "1.0-1"
    architecture: str = "arm64"
    fields: dict[str, str] = field(default_factory=dict)

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for path, data in self.content.items():
            yield tarfile.TarInfo("./" + path), data


KERNEL = Package("linux-binary-9", {"usr/lib/modules/9/vmlinuz": b"kernel", "usr/share/doc/linux-binary-9": b"x"}, fields={"Source": "linux-signed (9+1)"})
TREES = Package("linux-base-9", {"usr/lib/modules/9/dtb/some.dtb": b"tree", "usr/lib/modules/9/dtb/other.dtb": b"other"})
FIRMWARE = Package("raspi-firmware", {"usr/lib/raspi-firmware/start4.elf": b"code", "usr/lib/raspi-firmware/start.elf": b"older"}, architecture="all")

def test_the_slot_has_what_its_table_names() -> None:
    taken = slot.files([KERNEL, TREES, FIRMWARE], SLOT)  # type: ignore[list-item]
    assert [(file.name, file.data, file.package) for file in taken] == [
        ("same.dtb", b"tree", "linux-base-9"), ("some.dtb", b"tree", "linux-base-9"), ("start4.elf", b"code", "raspi-firmware"), ("vmlinuz", b"kernel", "linux-binary-9")]


def test_a_slot_without_a_kernel_or_with_two_is_refused() -> None:
    with pytest.raises(SystemExit, match="vmlinuz, the packages have 0"):
        slot.files([TREES, FIRMWARE], SLOT)  # type: ignore[list-item]
    with pytest.raises(SystemExit, match="the packages have 2: linux-binary-9: .*, linux-binary-8: "):
        slot.files([KERNEL, TREES, FIRMWARE, Package("linux-binary-8", {"usr/lib/modules/8/vmlinuz": b""})], SLOT)  # type: ignore[list-item]


def test_the_image_takes_kernel_trees_and_firmware() -> None:
    names = [name for names in tomllib.loads((NIX / "rootfs/kernel.toml").read_text())["slot"].values() for name in names]
    assert {"vmlinuz", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb", "start4.elf", "fixup4.dat"} <= set(names) and len(set(names)) == len(names)


def listed(folder: Path) -> Path:
    """The list of packages of a root with one package's file and a link of another's, and of the slot above."""
    tree = Tree()
    tree.put("usr/bin/some", Entry("f", 0o755, b"12345", package="some"))
    tree.put("usr/bin/own", Entry("f", 0o755, b"the project's"))
    tree.put("usr/lib/modules/9/modules.builtin", Entry("f", 0o644, b"", package="linux-base-9"))
    packages = [Package("some", version="1:2.0+deb13~1"), Package("gone"), KERNEL, TREES, FIRMWARE]
    build.report(tree, packages, slot.files([KERNEL, TREES, FIRMWARE], SLOT), "9", folder)  # type: ignore[list-item, arg-type]
    return folder / "packages.json"


def test_packages_of_the_boot_slot_are_counted(tmp_path: Path) -> None:
    packages = {entry["package"]: entry for entry in json.loads(listed(tmp_path).read_text())["packages"]}
    assert set(packages) == {"some", "linux-binary-9", "linux-base-9", "raspi-firmware"}
    assert packages["linux-binary-9"]["boot"] == {"files": 1, "size": 6} and "root" not in packages["linux-binary-9"]
    assert packages["linux-binary-9"]["source"] == "linux-signed"
    assert packages["linux-base-9"]["boot"]["files"] == 2 and packages["linux-base-9"]["root"]["files"] == 1
    assert packages["some"]["root"] == {"files": 1, "size": 5} and "boot" not in packages["some"]
    assert (tmp_path / "dropped.txt").read_text() == "gone\n"

def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def crate(name: str, version: str, locked: bool = True) -> str:
    return f'[[package]]\nname = "{name}"\nversion = "{version}"\n' + (f'source = "somewhere"\nchecksum = "{digest(name)}"\n' if locked else "")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes what a bill is made of, then makes it: FOLDER/PRODUCT-VERSION. Words change single variables."""
    names = [("some", "1:2.0+deb13~1", "arm64"), ("some", "1:2.0+deb13~1", "amd64"), ("linux-binary-9", "1.0-1", "arm64"), ("linux-base-9", "1.0-1", "arm64"),
             ("raspi-firmware", "1.0-1", "all"), ("libstd-rust-dev", "1.96+dfsg-1", "arm64"), ("libstd-rust-dev", "1.96+dfsg-1", "amd64"), ("gone", "1.0-1", "arm64")]
    lock = {f"{name}_{version}_{arch}": {"package": name, "version": version, "architecture": arch, "sha256": digest(name + arch)} for name, version, arch in names}
    npm = {"": {"version": "1"}, "node_modules/page": {"version": "3.0.0", "license": "MPL-2.0", "integrity": "sha512-" + "A" * 86 + "=="},
           "node_modules/@own/part": {"version": "1.0.0"}, "node_modules/vite": {"version": "6", "dev": True}}
    files = {
        "lock.json": json.dumps({"packages": lock}), "package-lock.json": json.dumps({"packages": npm}), "verity": "123:salt:hash\n",
        "Cargo.lock": "version = 4\n" + crate("duplex", "0.1.0", locked=False) + crate("both", "1.0.0") + crate("build-only", "1.0.0"),
        "server.lock": crate("server", "0.8.1+some") + crate("both", "1.0.0"), "duplex.txt": "both v1.0.0\nduplex v0.1.0\n", "server.txt": "both v1.0.0\nserver v0.8.1+some\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    given = {
        "packages": listed(tmp_path), "debian_lock": tmp_path / "lock.json", "npm_lock": tmp_path / "package-lock.json", "verity": tmp_path / "verity",
        "crates": tmp_path / "duplex.txt", "cargo_locks": tmp_path / "Cargo.lock", "linked": "libstd-rust-dev:arm64", "product": "duplex", "version": "0.1.0",
        "SOURCE_DATE_EPOCH": 1, "out": tmp_path / "bills",
    }

    def make(**changed: object) -> Path:
        all_of_it = given | changed
        for name, value in all_of_it.items():
            monkeypatch.setenv(name, str(value))
        sbom.main()
        return Path(f"{all_of_it['out']}/{all_of_it['product']}-{all_of_it['version']}")

    return make


LEAN = {
    "pkg:deb/debian/some@1%3A2.0%2Bdeb13~1?arch=arm64", "pkg:deb/debian/linux-binary-9@1.0-1?arch=arm64", "pkg:deb/debian/linux-base-9@1.0-1?arch=arm64",
    "pkg:deb/debian/raspi-firmware@1.0-1?arch=all", "pkg:deb/debian/libstd-rust-dev@1.96%2Bdfsg-1?arch=arm64", "pkg:cargo/both@1.0.0", "pkg:cargo/duplex@0.1.0",
    "pkg:npm/page@3.0.0", "pkg:npm/%40own/part@1.0.0",
}


def test_both_bills_list_what_is_in_the_image(inputs: Callable[..., Path]) -> None:
    """Kernel and firmware, which only the boot slot has; the standard library, which only the programs have; nothing else of the locks."""
    found = bills.read(inputs())
    assert set(found) == LEAN
    assert found["pkg:deb/debian/linux-binary-9@1.0-1?arch=arm64"].checksum == ("SHA256", digest("linux-binary-9arm64"))
    assert found["pkg:npm/page@3.0.0"].licence == "MPL-2.0"


def test_a_larger_image_has_the_crates_of_all_its_programs(inputs: Callable[..., Path], tmp_path: Path) -> None:
    stem = inputs(product="duplex-larger", crates=f"{tmp_path}/duplex.txt {tmp_path}/server.txt", cargo_locks=f"{tmp_path}/Cargo.lock {tmp_path}/server.lock")
    assert set(bills.read(stem)) == LEAN | {"pkg:cargo/server@0.8.1%2Bsome"}
    assert sorted(file.name for file in stem.parent.iterdir()) == ["duplex-larger-0.1.0.cdx.json", "duplex-larger-0.1.0.spdx.json"]


def test_bills_are_the_same_each_time(inputs: Callable[..., Path], tmp_path: Path) -> None:
    once, again = inputs(), inputs(out=tmp_path / "again")
    for form in ("spdx", "cdx"):
        assert Path(f"{once}.{form}.json").read_bytes() == Path(f"{again}.{form}.json").read_bytes()


@pytest.mark.parametrize(("file", "text", "message"), [
    ("server.txt", "both v2.0.0\n", "server.txt has 'both v2.0.0', which no Cargo.lock has"),
    ("server.lock", '[[package]]\nname = "both"\nversion = "1.0.0"\nchecksum = "00"\n', "both 1.0.0 has two hashes"),
    ("lock.json", '{"packages": {}}', "some 1:2.0.deb13~1 arm64 is in the image, but not in lock.json"),
])
def test_what_no_lock_has_is_refused(inputs: Callable[..., Path], tmp_path: Path, file: str, text: str, message: str) -> None:
    (tmp_path / file).write_text(text)
    with pytest.raises(SystemExit, match=message):
        inputs(crates=f"{tmp_path}/duplex.txt {tmp_path}/server.txt", cargo_locks=f"{tmp_path}/Cargo.lock {tmp_path}/server.lock")


def test_a_linked_library_that_is_not_locked_is_refused(inputs: Callable[..., Path]) -> None:
    with pytest.raises(SystemExit, match="lock.json has libstd-other-dev:arm64 0 times"):
        inputs(linked="libstd-other-dev:arm64")


@pytest.mark.parametrize(("product", "title"), [("duplex", "Duplex 0.1.0"), ("duplex-workbench", "Duplex workbench 0.1.0")])
def test_each_image_has_a_manifest_of_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, product: str, title: str) -> None:
    raw, packed = tmp_path / "raw.img", tmp_path / f"{product}-0.1.0-arm64.img.zst"
    raw.write_bytes(bytes(8192))
    packed.write_bytes(b"packed")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setattr(sys, "argv", ["manifest.py", str(raw), str(packed), "0.1.0", str(tmp_path)])
    manifest.main()
    (entry,) = json.loads((tmp_path / f"{product}-0.1.0.rpi-imager-manifest").read_text())["os_list"]
    assert (entry["name"], entry["url"]) == (title, packed.name)
