"""Devices that come and go while the board runs: what the kernel and the service's list of devices make of them.

The service's own part (waiting for a device, going back to it) is in test_devices.py.
"""

from __future__ import annotations

import pytest

from device import wait_for

pytestmark = pytest.mark.lg_feature(["appliance", "usb"])

PATIENCE = 180.0


def test_a_speaker_is_pulled_and_put_back(serving) -> None:  # type: ignore[no-untyped-def]
    """What the kernel and the service's own list of devices make of it; the service's part has tests of its own."""
    cards = "cat /proc/asound/cards"
    wait_for("the USB speaker", lambda: "USB-Audio" in serving.ssh(cards), PATIENCE, every=1)
    serving.pull_speaker()
    wait_for("no USB speaker", lambda: "USB-Audio" not in serving.ssh(cards), PATIENCE, every=1)
    serving.plug_speaker()
    wait_for("the USB speaker again", lambda: "USB-Audio" in serving.ssh(cards), PATIENCE, every=1)
    assert serving.ssh("systemctl is-active duplex.service") == "active"


def test_devices_that_come_later_are_let_in(serving) -> None:  # type: ignore[no-untyped-def]
    """The service may open a camera whose driver was not there when it started, and nothing else of /dev."""
    serving.load("vivid", "n_devs=1")
    try:
        camera = wait_for("the camera", lambda: serving.ssh("ls /dev/video* | head -n 1", check=False), PATIENCE, every=1)
        media = wait_for("its media device", lambda: serving.ssh("ls /dev/media* | head -n 1", check=False), PATIENCE, every=1)
        for path, allowed in ((camera, True), (media, True), ("/dev/snd/controlC0", True), ("/dev/vda", False), ("/dev/mem", False)):
            assert opened_in_its_group(serving, path) == allowed, path
    finally:
        serving.ssh("modprobe -r vivid", check=False)


def opened_in_its_group(board, path: str) -> bool:  # type: ignore[no-untyped-def]
    """Whether a process under the service's list of devices may open it; as root, so that only the list decides."""
    said = board.ssh(
        f"sh -c 'echo $$ > /sys/fs/cgroup/system.slice/duplex.service/cgroup.procs; exec dd if={path} of=/dev/null count=0 2>&1' && echo opened", check=False)
    assert said.endswith("opened") or "ermitted" in said or "No such" in said, said
    return said.endswith("opened")
