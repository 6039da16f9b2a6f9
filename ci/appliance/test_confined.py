"""What the units around the service may do, and what its owner may in a shell; the service's own confinement is in test_appliance.py.

Also what `duplex doctor` says on a Raspberry Pi, with a model laid over the emulated board's.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.lg_feature("appliance")

UNITS = "/run/systemd/system"
#: Each line is a name, then what came of it.
PROBE = """
grep -o 'duplex/card vfat' /proc/mounts | sed 's/^/card: /'
touch /etc/probe 2>/dev/null && echo root: written
ls /var/lib/duplex/ >/dev/null 2>&1 && echo state: seen
name=$(hostname); (echo $name > /proc/sys/kernel/hostname) 2>/dev/null && echo hostname: written
dmesg >/dev/null 2>&1 && echo log: read
modprobe smsc95xx >/dev/null 2>&1 && echo module: loaded
busybox unshare -n true >/dev/null 2>&1 && echo namespace: made
[ $(ip -o link | wc -l) -gt 1 ] && echo network: seen
(echo > /dev/tty1) 2>/dev/null && echo screen: written
grep NoNewPrivs /proc/self/status
"""


def probed(board, unit: str) -> list[str]:  # type: ignore[no-untyped-def]
    """What a shell finds it may do within a unit that ran anyway."""
    board.ssh(f"mkdir -p {UNITS}/{unit}.d; cat > /run/duplex/probe", text=PROBE)
    try:
        board.ssh(f"cat > {UNITS}/{unit}.d/probe.conf; systemctl daemon-reload; systemctl restart {unit}",
                  text="[Service]\nExecStart=\nExecStart=/usr/lib/duplex/with-card /bin/sh -c '. /run/duplex/probe >/run/duplex/probed; true'\n")
        return board.ssh("cat /run/duplex/probed").splitlines()
    finally:
        board.ssh(f"rm -rf {UNITS}/{unit}.d /run/duplex/probe /run/duplex/probed; systemctl daemon-reload; systemctl restart {unit}")


def test_the_report_is_confined(serving) -> None:  # type: ignore[no-untyped-def]
    assert probed(serving, "duplex-report.service") == ["card: duplex/card vfat", "network: seen", "screen: written", "NoNewPrivs:\t1"]
    assert "duplex/card" not in serving.ssh("cat /proc/mounts")


def test_provisioning_is_confined(serving) -> None:  # type: ignore[no-untyped-def]
    """It writes the service's state and the name, and no network or screen is its business."""
    found = probed(serving, "duplex-provision.service")
    assert found == ["card: duplex/card vfat", "state: seen", "hostname: written", "NoNewPrivs:\t1"]
    assert serving.ssh("systemctl is-active duplex-provision.service duplex.service") == "active\nactive"


def test_a_shell_stays_root_s(serving) -> None:  # type: ignore[no-untyped-def]
    """What it mounts the whole system sees; modules, clock, packets and units are its own; but it cannot take all memory."""
    assert serving.ssh("mount --bind /etc/hosts /etc/shells && grep -c /etc/shells /proc/1/mounts; umount /etc/shells") == "1"
    for command in ("modprobe smsc95xx && modprobe -r smsc95xx", "date -s @$(date +%s)", "ping -c 1 127.0.0.1", "dmesg", "busybox unshare -n true"):
        serving.ssh(f"({command}) >/dev/null")
    assert serving.ssh("systemd-run --quiet --wait --pipe echo run") == "run"
    assert serving.ssh("systemctl show -P MemoryMax dropbear.service") != "infinity"


def test_the_doctor_knows_which_cameras_the_kernel_drives(serving) -> None:  # type: ignore[no-untyped-def]
    tree = "/sys/firmware/devicetree/base"
    laid = {"model": "Raspberry Pi 4 Model B Rev 1.4\\0", "compatible": "raspberrypi,4-model-b\\0brcm,bcm2711\\0"}
    try:
        for name, text in laid.items():
            serving.ssh(f"printf '{text}' > /run/tree-{name}; mount --bind /run/tree-{name} {tree}/{name}")
        said = [line for line in serving.ssh("duplex doctor --video camera:auto --state-dir /var/lib/duplex", check=False).splitlines() if "board's cameras" in line]
        listed = serving.ssh("duplex devices")
    finally:
        for name in laid:
            serving.ssh(f"umount {tree}/{name}; rm /run/tree-{name}", check=False)
    release = serving.ssh("uname -r")
    # Debian's kernel has none of them, and no driver for a Pi 4's sockets either.
    assert len(said) == 1 and f"Pi 4 Model B Rev 1.4: kernel {release} has no driver here for Camera Module 3 (imx708)" in said[0], said
    assert "sockets (brcm,bcm2835-unicam)" in said[0] and "USB camera" in said[0], said
    # A list without any camera says why; the emulated board may have one by now.
    assert f"kernel {release}" in listed or "camera       none" not in listed, listed
