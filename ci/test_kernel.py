"""Another kernel by one file: what nix/rootfs/kernel.toml may say, and that the lock, the modules and the boot slot go by it.

The kernel that it names is built into the image and started by ci/test-image.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator

import pytest

NIX = Path(__file__).resolve().parent.parent / "nix"
sys.path[:0] = [str(NIX), str(NIX / "rootfs")]

import kernel  # noqa: E402
import scripts  # noqa: E402
import slot  # noqa: E402
import sources  # noqa: E402
from tree import Tree  # noqa: E402

pytestmark = pytest.mark.beside


@dataclass
class Package:
    """As far as modules, slot and scripts look at one."""

    name: str
    content: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, bytes] = field(default_factory=dict)
    path: Path = Path("some.deb")

    def entries(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        for path, data in self.content.items():
            yield tarfile.TarInfo("./" + path), data


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel.toml of the test's own."""
    monkeypatch.setattr(sources, "KERNEL", tmp_path / "kernel.toml")
    return tmp_path / "kernel.toml"


def archive(suite: str, version: str = "*") -> str:
    return f'[source]\nsuite = "{suite}"\nroots = ["linux-image-arm64"]\nversion = "{version}"\nkeep = ["linux-image-*"]\nneeds = ["linux-base"]\n'


def test_a_suite_may_give_the_kernel_that_comes_from_it_and_no_other_may(table: Path) -> None:
    for name in ("trixie-backports", "sid"):
        table.write_text(archive(name))
        suites, sets = sources.wanted()
        may = {suite["suite"]: suite.get("only") for suite in suites}
        assert may[name][:2] == ["linux-base", "linux-image-*"] and "main" in next(suite for suite in suites if suite["suite"] == name)["components"]
        assert [suite for suite, only in may.items() if only and "linux-image-*" in only] == [name]
        assert sets["kernel"]["roots"] == ["linux-image-arm64"] and sets["kernel"]["arch"] == "arm64"
    # Of the release itself anything may come, and then the kernel comes from nowhere else.
    table.write_text(archive("trixie"))
    assert not any("linux-image-*" in suite.get("only", []) for suite in sources.wanted()[0])


@pytest.mark.parametrize("source", ['files = ["some.deb"]\nsuite = "trixie"\n', 'suite = "trixie"\nroots = ["linux-image-arm64"]\n'])
def test_half_a_source_is_refused(table: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text("[source]\n" + source)
    with pytest.raises(SystemExit):
        sources.wanted()
    assert "it takes either files alone, or suite, roots, version, keep and needs" in capsys.readouterr().err


def test_a_kernel_given_as_a_file_is_taken_by_its_hash_alone(table: Path, tmp_path: Path) -> None:
    table.write_text('[source]\nfiles = ["mine/kernel_9~rc1_arm64.deb"]\n')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/kernel_9~rc1_arm64.deb").write_bytes(b"the kernel")
    assert sources.wanted()[1]["kernel"] == {"arch": "arm64", "files": ["mine/kernel_9~rc1_arm64.deb"]}
    entry = {"package": "kernel", "suite": sources.FILE, "path": "kernel_9~rc1_arm64.deb", "size": 10, "sha256": hashlib.sha256(b"the kernel").hexdigest()}
    cache = tmp_path / "cache"
    assert sources.download([entry], {}, "20260101T000000Z", cache) == []
    assert (cache / "kernel_9-rc1_arm64.deb").read_bytes() == b"the kernel"
    lost = [{**entry, "path": "other_1_arm64.deb"}, {**entry, "sha256": "0" * 64}]
    assert sources.download(lost, {}, "20260101T000000Z", cache) == lost


def test_a_set_that_was_resolved_later_is_looked_for_at_its_own_date() -> None:
    assert sources.in_snapshot({"suite": "trixie"}, "20260131T010203Z").endswith("/archive/debian/20260131T010203Z/")
    assert sources.in_snapshot({"suite": "trixie-security", "snapshot": "20260228T010203Z"}, "20260131T010203Z", 1).endswith("/debian-security/20260301T010203Z/")


def test_modules_are_found_whatever_packed_them_and_whichever_way_lib_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "add_tables", lambda tree, version: None)
    base = {"lib/modules/9/modules.builtin": b"", "lib/modules/9/modules.order": b""}
    package = Package("linux-image-9", base | {
        "lib/modules/9/kernel/fs/one.ko.gz": gzip.compress(b"one\0depends=two\0"), "lib/modules/9/kernel/lib/two.ko": b"two", "lib/modules/9/kernel/lib/three.ko": b"three"})
    tree = Tree()
    assert kernel.add_modules(tree, [package], {"root": ["fs/one"]}) == "9"  # type: ignore[list-item]
    there = {path: entry.data for path, entry in tree.files() if path.endswith(".ko")}
    assert there == {"usr/lib/modules/9/kernel/fs/one.ko": b"one\0depends=two\0", "usr/lib/modules/9/kernel/lib/two.ko": b"two"}
    taken = slot.files([Package("linux-image-9", {"lib/modules/9/vmlinuz": b"k"})], {"usr/lib/modules/*/vmlinuz": ["vmlinuz"]})  # type: ignore[list-item]
    assert [file.name for file in taken] == ["vmlinuz"]


def test_scripts_of_the_kernel_are_judged_in_its_own_file(tmp_path: Path) -> None:
    judged = tmp_path / "scripts.json"
    judged.write_text('{"any": {}, "packages": {}}')
    package, digest = Package("linux-image-9", scripts={"postinst": b"depmod 9\n"}), hashlib.sha256(b"depmod 9\n").hexdigest()
    scripts.check([package], judged, {"linux-image-9": {"postinst": {"sha256": digest, "replaced-by": "add_tables()"}}})  # type: ignore[list-item]
    with pytest.raises(SystemExit, match="changed  linux-image-9 postinst"):
        scripts.check([package], judged, {"linux-image-9": {"postinst": {"sha256": "0", "replaced-by": "add_tables()"}}})  # type: ignore[list-item]
