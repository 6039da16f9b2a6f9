"""The bills of materials that come with an image, held against a board that runs it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest

import bills

pytestmark = pytest.mark.lg_feature("appliance")

PROGRAMS = "/usr/bin/duplex /usr/bin/gst-webrtc-signalling-server /usr/bin/simple-http-server /usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstrs*.so"


@pytest.fixture
def bill() -> dict[str, bills.Part]:
    """What the bills beside the image list."""
    stem = Path(os.environ.get("DUPLEX_BILLS") or "no-name")
    if not Path(f"{stem}.spdx.json").exists():
        pytest.skip("there are no bills of materials beside the image")
    return bills.read(stem)


def test_debian_packages_are_those_of_the_board(serving, bill: dict[str, bills.Part]) -> None:  # type: ignore[no-untyped-def]
    """All that the root records; besides those only the running kernel's, and what is linked into the programs."""
    here: set[str] = set()
    for stanza in serving.ssh("cat /usr/lib/dpkg/status.d/*").split("Package: ")[1:]:
        name, *lines = stanza.splitlines()
        fields = dict(line.split(": ", 1) for line in lines)
        here.add(f"pkg:deb/debian/{quote(name)}@{quote(fields['Version'], safe='')}?arch={fields['Architecture']}")
    listed = {purl for purl in bill if purl.startswith("pkg:deb/")}
    kernel = serving.ssh("uname -r")
    assert not here - listed
    others = {bill[purl].name for purl in listed - here}
    assert "libstd-rust-web-dev" in others
    others.remove("libstd-rust-web-dev")
    assert others & {f"linux-{part}-{kernel}" for part in ("modules", "image")}
    assert all(re.fullmatch(rf"linux-[a-z]+-{re.escape(kernel)}", name) for name in others), others
    assert "raspi-firmware" in {bill[purl].name for purl in listed}


def test_every_crate_that_a_program_names_is_listed(serving, bill: dict[str, bills.Part]) -> None:  # type: ignore[no-untyped-def]
    """A compiled crate leaves the place of its sources in what it says when it panics."""
    said = serving.ssh(f"for file in {PROGRAMS}; do [ ! -e $file ] || tr -c 'A-Za-z0-9/_.+-' '\\n' <$file | grep -oE '/crates/[A-Za-z0-9_.+-]+/'; done | sort -u")
    named = {line.split("/")[2] for line in said.splitlines()}
    assert len(named) > 50
    assert not named - {f"{part.name}-{part.version}" for purl, part in bill.items() if purl.startswith("pkg:cargo/")}
