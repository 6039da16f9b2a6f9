"""What the build of the image's root refuses: a secret, a maintainer script nobody has read, a judgement that is no longer true."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOTFS = Path(__file__).resolve().parent.parent / "nix/rootfs"
sys.path.insert(0, str(ROOTFS))

import build  # noqa: E402
import scripts  # noqa: E402
from tree import Entry, Tree  # noqa: E402

pytestmark = pytest.mark.beside


@dataclass
class Package:
    """As far as the check of scripts looks at one."""

    name: str
    scripts: dict[str, bytes]
    path: Path = field(default=Path("some_1.0_arm64.deb"))


def tree_with(path: str, data: bytes, package: str = "") -> Tree:
    tree = Tree()
    tree.put(path, Entry("f", 0o644, data, package=package))
    return tree


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_private_key_is_refused(kind: str) -> None:
    key = f"-----BEGIN {kind}PRIVATE KEY-----\n".encode() + b"A" * 64 + b"\n"
    with pytest.raises(SystemExit, match="/etc/some.pem holds a private key"):
        build.no_secret(tree_with("etc/some.pem", b"text before\n" + key))


@pytest.mark.parametrize("path", ["etc/ssh/ssh_host_ed25519_key", "data/ssh/host_ed25519", "root/.ssh/id", "var/lib/duplex/pki/ca-key.pem"])
def test_what_a_device_makes_itself_is_refused(path: str) -> None:
    with pytest.raises(SystemExit, match=f"/{path} must not be in an image"):
        build.no_secret(tree_with(path, b"\0"))


def test_a_certificate_is_no_secret() -> None:
    build.no_secret(tree_with("etc/ssl/certs/ca-certificates.crt", b"-----BEGIN CERTIFICATE-----\n" + b"A" * 64))


def test_a_new_and_a_changed_script_are_named(tmp_path: Path) -> None:
    table = tmp_path / "scripts.json"
    known = b"#!/bin/sh\nldconfig\n"
    table.write_text(json.dumps({"any": {}, "packages": {"known": {"postinst": {"sha256": hashlib.sha256(known).hexdigest(), "ignored": "no cache"}}}}))
    scripts.check([Package("known", {"postinst": known})], table)  # type: ignore[list-item]
    with pytest.raises(SystemExit, match="changed  known postinst"):
        scripts.check([Package("known", {"postinst": known + b"rm -rf /\n"})], table)  # type: ignore[list-item]
    with pytest.raises(SystemExit, match="new      stranger preinst"):
        scripts.check([Package("stranger", {"preinst": b"true\n"})], table)  # type: ignore[list-item]


def test_a_new_script_of_packages_resolved_just_now_is_only_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "scripts.json"
    table.write_text(json.dumps({"any": {}, "packages": {}}))
    (tmp_path / "stale").touch()
    scripts.check([Package("stranger", {"preinst": b"true\n"})], table)  # type: ignore[list-item]
    said = capsys.readouterr().out
    assert said.startswith("STALE LOCK: 1 maintainer scripts") and "new      stranger preinst" in said


def test_absent_must_be_absent(tmp_path: Path) -> None:
    table = tmp_path / "scripts.json"
    table.write_text(json.dumps({"any": {}, "packages": {"openssl": {"postinst": {"sha256": "", "ignored": scripts.ABSENT}}}}))
    scripts.check_absent(tree_with("usr/bin/other", b"", "other"), table)
    with pytest.raises(SystemExit, match="openssl: /usr/bin/openssl"):
        scripts.check_absent(tree_with("usr/bin/openssl", b"", "openssl"), table)
