"""What is set of a camera holds, and what the camera lacks is told; on the kernel's vivid, as a viewer sees it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

import pytest

from device import wait_for
# Fixtures as well.
from test_devices import PATIENCE, bars, board, now, take, told, viewer

pytestmark = pytest.mark.lg_feature("appliance")


@pytest.fixture
def controls(board) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """vivid keeps what is set until it is made anew."""
    yield
    board.unbind("vivid", "vivid.0")
    board.bind("vivid", "vivid.0")


def test_camera_is_set_and_turned_and_told_of_what_it_lacks(board, controls, viewer, settings, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A control that the camera has holds, whatever stands beside it."""
    gray = tmp_path / "seen.gray"
    listed = board.ssh("duplex devices --controls")
    assert re.search(r"^ +brightness +0\.\.255, default 128$", listed, re.MULTILINE), listed
    said = board.ssh("duplex doctor --video camera:auto --camera-controls night_vision=1 --state-dir /var/lib/duplex", check=False)
    assert "warn  camera's settings: camera-controls: the camera has no night_vision; it has brightness 0..255" in said, said

    take(board, "source set video camera:auto")
    watching = viewer()
    as_it_comes = wait_for("vivid's colour bars", lambda: bars(gray), PATIENCE)
    watching.stop()

    lacks = "journalctl -u duplex -b --no-pager | grep -c 'has no night_vision'; true"
    before, since = int(board.ssh(lacks)), now(board)
    # With the gain's automatic on, the gain does nothing to the picture.
    settings("Environment=DUPLEX_CAMERA_CONTROLS=brightness=78,gain=300,night_vision=1 DUPLEX_CAMERA_ROTATE=180")
    viewer()
    darker = wait_for("the bars upside down", lambda: bars(gray, turned=True), PATIENCE)
    figure(f"luma of the bars {' '.join(f'{one:.0f}' for one in as_it_comes)}, with 50 less brightness {' '.join(f'{one:.0f}' for one in darker)}")
    # The dark ones have no 50 to lose.
    assert all(35 < bright - dark < 65 for bright, dark in zip(as_it_comes[:3], darker[:3]))
    told(board, since, r"gain takes 0\.\.255, not 300; camera-controls: the camera has no night_vision; it has brightness 0\.\.255")
    assert int(board.ssh(lacks)) == before + 1, "told once"
