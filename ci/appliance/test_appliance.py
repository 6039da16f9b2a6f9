"""The appliance image on a board: starts, is closed where it must be, serves, remembers, forgets nothing but what it is told to.

Every test that needs a board takes the shared one, provisioned and serving; those that need a card of their own flash one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from network import A, PTR, ask_multicast
from strategy import PASSWORD
from test_service import sign_in

import boot
from device import TOP, wait_for

pytestmark = pytest.mark.lg_feature("appliance")

#: From the kernel to serving on a first start, as the board's own clock counts: 17 s with two cores to itself, 89 s were seen beside builds.
START_SECONDS = 150.0


# --- start ---------------------------------------------------------------------------------------------------------------

def test_starts_in_time_without_a_failed_unit(serving, figure) -> None:  # type: ignore[no-untyped-def]
    assert serving.ssh("systemctl --failed --no-legend --plain") == ""
    took = int(serving.ssh("systemctl show -P ActiveEnterTimestampMonotonic duplex.service")) / 1e6
    figure(f"kernel to serving: {took:.1f} s")
    figure(serving.ssh("systemd-analyze time; systemd-analyze blame --no-pager | head -n 8"))
    figure(serving.ssh("free -m; cat /sys/fs/cgroup/system.slice/duplex.service/memory.current"))
    assert took < START_SECONDS, f"the emulated board served only after {took:.0f} s"


def test_data_grew_to_the_end_of_the_card(serving) -> None:  # type: ignore[no-untyped-def]
    megabytes = int(serving.ssh("df -m /data | tail -n 1 | awk '{print $2}'"))
    assert megabytes > 1700, f"data has {megabytes} MB of a card of 3 GiB"


# --- read-only and verified ----------------------------------------------------------------------------------------------

def test_only_data_can_be_written(serving) -> None:  # type: ignore[no-untyped-def]
    for folder in ("/", "/etc", "/usr/bin", "/var", "/var/lib", "/root"):
        said = serving.ssh(f"touch {folder}/x 2>&1; rm -f {folder}/x", check=False)
        assert "Read-only file system" in said, f"{folder}: {said}"
    places = set()
    for line in serving.ssh("cat /proc/mounts").splitlines():
        _, place, kind, options, *_ = line.split()
        if "rw" in options.split(",") and kind in ("ext4", "erofs", "vfat", "overlay", "btrfs"):
            places.add(place)
    assert places == {"/data", "/var/lib/duplex", "/var/cache/duplex", "/var/lib/systemd", "/var/lib/iwd", "/var/log/journal"}, places


def test_root_is_verified(serving) -> None:  # type: ignore[no-untyped-def]
    assert serving.ssh("dmsetup status root").split()[2:4] == ["verity", "V"]
    hash_ = serving.ssh("cat /proc/cmdline").split("duplex.verity=")[1].split()[0].split(":")[2]
    assert hash_ in serving.ssh("dmsetup table root")


def test_a_damaged_card_is_refused(fresh) -> None:  # type: ignore[no-untyped-def]
    board = fresh("flipped")
    with board.card.open("r+b") as file:
        start = boot.partitions(file)[5].start * boot.SECTOR
        # The superblock of erofs: the first thing that is read.
        file.seek(start + 1024 + 64)
        byte = file.read(1)
        file.seek(start + 1024 + 64)
        file.write(bytes([byte[0] ^ 1]))
    board.on()
    refused(board)
    board.off()
    # The right root, and a boot slot that asks for another one.
    with board.card.open("r+b") as file:
        file.seek(start + 1024 + 64)
        file.write(byte)
    board.on(append=f"duplex.verity={boot_hash(board, 'f')}")
    refused(board)
    board.off()
    # The right root and the right boot slot, and data that nothing can be made of: what to do stands on the console.
    with board.card.open("r+b") as file:
        file.seek(boot.partitions(file)[7].start * boot.SECTOR)
        file.write(bytes(8192))
    board.on()
    refused(board)
    assert "data is damaged beyond repair; a file named factory-reset" in board.console()


def boot_hash(board, digit: str) -> str:  # type: ignore[no-untyped-def]
    """The slot's own word about its root, with a wrong hash in it."""
    word = boot.start(board.card).cmdline.split("duplex.verity=")[1].split()[0]
    parts = word.split(":")
    parts[2] = digit * len(parts[2])
    return ":".join(parts)


def refused(board) -> None:  # type: ignore[no-untyped-def]
    """It says that it cannot start, starts nothing, offers no shell, and tries anew (which ends QEMU here)."""
    board.wait_console(r"cannot start|Kernel panic|verity.*corrupted")
    wait_for("its next try", lambda: board.process.poll() is not None, 180, every=1)
    console = board.console()
    assert not any(word in console for word in ("Welcome", "ready https", "login:", "/ #")), console[-2000:]


def test_the_slots_of_a_flashed_card_are_the_same_and_complete() -> None:
    """Of the image itself."""
    with Path(os.environ["LG_IMAGE"]).open("rb") as file:
        table = boot.partitions(file)

        def digest(number: int) -> str:
            file.seek(table[number].start * boot.SECTOR)
            total, left = hashlib.sha256(), table[number].size * boot.SECTOR
            while left:
                total.update(block := file.read(min(left, 1 << 20)))
                left -= len(block)
            return total.hexdigest()

        assert sorted(table) == [1, 2, 3, 4, 5, 6, 7] and digest(2) == digest(3) and digest(5) == digest(6)
        first, slot = (boot.Fat(file, table[number].start) for number in (1, 2))
        names = {name.lower() for name, *_ in first.listing(first.root)}
        assert {"autoboot.txt", "duplex.toml", "readme.txt", "status"} <= names, names
        assert first.read("config.txt") is None, "the firmware takes its files from a slot"
        names = {name.lower() for name, *_ in slot.listing(slot.root)}
        assert {"config.txt", "cmdline.txt", "kernel.img", "initramfs.img", "start4.elf", "fixup4.dat"} <= names, names
        # What of the kernel its table says; the first part is a folder's name where there is one.
        listed = tomllib.loads((TOP / "nix/rootfs/kernel.toml").read_text())["slot"]
        wanted = {name.split("/")[0].lower() for given in listed.values() for name in given} - {"vmlinuz"}
        assert {"bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb"} <= wanted <= names, wanted - names


# --- network -------------------------------------------------------------------------------------------------------------

def test_nothing_listens_but_what_must(serving) -> None:  # type: ignore[no-untyped-def]
    """TLS on 8443, the CA and a redirect on 80, SSH because a key was given; mDNS and the DHCP client's own ports."""
    tcp = {line.split()[3].rsplit(":", 1)[1] for line in serving.ssh("ss -Hltn").splitlines()}
    assert tcp == {"8443", "80", "22"}, tcp
    lines = [line.split() for line in serving.ssh("ss -Hlunp").splitlines()]
    own = {line[3].rsplit(":", 1)[1] for line in lines if '"duplex"' in line[-1]}
    assert all(int(port) >= 32768 for port in own), "the ports of calls"
    ports = {line[3].rsplit(":", 1)[1] for line in lines if '"duplex"' not in line[-1] and not line[3].startswith(("127.", "[::1]"))}
    assert ports <= {"5353", "68", "546"}, lines


def test_the_certificate_follows_an_address(serving) -> None:  # type: ignore[no-untyped-def]
    """A second address, as another network would give it; the authority stays. A name changes with a start, from the card."""
    ca = serving.ca
    before = ca.read_bytes()

    def holds(*check: str) -> bool:
        shown = subprocess.run(["openssl", "s_client", "-connect", f"{serving.host}:{serving.https}", *check, "-CAfile", ca, "-verify_return_error", "-brief"],
                               input=b"", capture_output=True, timeout=60)
        return shown.returncode == 0

    device = serving.ssh("ip -4 -o route show default | awk '{print $5}'") or "eth0"
    assert not holds("-verify_ip", "10.77.0.99")
    serving.ssh(f"ip addr add 10.77.0.99/32 dev {device}")
    try:
        wait_for("the address in the certificate", lambda: holds("-verify_ip", "10.77.0.99"), 120, every=1)
    finally:
        serving.ssh(f"ip addr del 10.77.0.99/32 dev {device}")
    wait_for("the certificate as it was", lambda: holds("-verify_hostname", "proband.local") and not holds("-verify_ip", "10.77.0.99"), 120, every=1)
    assert serving.ca.read_bytes() == before


def test_port_80_has_the_authority_and_redirects(serving) -> None:  # type: ignore[no-untyped-def]
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    opener = urllib.request.build_opener(Stay)
    with pytest.raises(urllib.error.HTTPError) as redirected:
        opener.open(serving.help + "api/v1/status", timeout=30)
    assert redirected.value.code in (307, 308) and redirected.value.headers["Location"].startswith(f"https://{serving.host}:8443/")
    assert b"BEGIN CERTIFICATE" in opener.open(serving.help + "ca.pem", timeout=30).read()


def test_it_knows_its_name(serving) -> None:  # type: ignore[no-untyped-def]
    assert serving.ssh("hostname") == "proband"
    own = serving.ssh("ip -4 -o addr show scope global | awk '{split($4, a, \"/\"); print a[1]}'")
    assert own and own in serving.ssh("resolvectl query -4 proband.local 2>&1", check=False)


@pytest.mark.lg_feature("lan")
def test_the_name_is_announced(serving) -> None:  # type: ignore[no-untyped-def]
    """Another computer on the network asks for the name, and for web servers."""
    assert socket.inet_aton(serving.host) in ask_multicast("proband.local", A)
    assert b"proband._https._tcp.local" in ask_multicast("_https._tcp.local", PTR)


# --- service -------------------------------------------------------------------------------------------------------------

def test_the_service_is_confined(serving) -> None:  # type: ignore[no-untyped-def]
    shown = dict(line.split("=", 1) for line in serving.ssh(
        "systemctl show duplex.service -p User,NoNewPrivileges,ProtectSystem,DevicePolicy,MemoryMax,WatchdogUSec,MainPID").splitlines())
    assert (shown["User"], shown["NoNewPrivileges"], shown["ProtectSystem"], shown["DevicePolicy"]) == ("duplex", "yes", "strict", "closed")
    assert shown["MemoryMax"] != "infinity" and shown["WatchdogUSec"] == "1min"
    status = serving.ssh(f"cat /proc/{shown['MainPID']}/status")
    assert re.search(r"^Uid:\s+900\s+900", status, re.M) and re.search(r"^CapEff:\s+0000000000000400$", status, re.M), status


def test_the_service_comes_back(serving) -> None:  # type: ignore[no-untyped-def]
    """Also without the file that provisioning writes for it, as if that had been cut short."""
    before = serving.ssh("systemctl show -P MainPID duplex.service; rm /run/duplex/service.toml").strip()
    serving.ssh(f"kill -9 {before}")
    after = serving.ssh("for i in $(busybox seq 100); do [ \"$(systemctl is-active duplex)\" = active ] && break; sleep 1; done; systemctl show -P MainPID duplex.service")
    assert after not in ("0", before)
    assert serving.get("/") is not None and "width = 320" in serving.ssh("cat /run/duplex/service.toml")


def test_a_frozen_service_is_started_anew(serving) -> None:  # type: ignore[no-untyped-def]
    """systemd's watchdog, with less patience than it has otherwise."""
    folder = "/run/systemd/system/duplex.service.d"
    serving.ssh(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=15\\n' > {folder}/watchdog.conf && systemctl daemon-reload && systemctl restart duplex.service")
    before = serving.ssh("systemctl show -P MainPID duplex.service")
    try:
        serving.ssh(f"kill -STOP {before}")
        wait_for("another process", lambda: serving.ssh("systemctl show -P MainPID duplex.service") not in ("0", before), 120, every=2)
        wait_for("the page", lambda: serving.get("/") is not None, 120, every=1)
        assert "atchdog" in serving.ssh("journalctl -b -u duplex.service --no-pager | grep -i watchdog | tail -n 2")
    finally:
        serving.ssh(f"kill -CONT {before} 2>/dev/null; rm -r {folder}; systemctl daemon-reload; systemctl restart duplex.service")


def test_the_pruned_root_has_every_element_that_a_setting_may_ask_for(serving) -> None:  # type: ignore[no-untyped-def]
    """The image keeps of GStreamer what is needed: by what doctor says of it, for each kind of source, codec and sink."""
    environment = serving.ssh("systemctl show -P Environment duplex.service; touch /run/some.png /run/some.mp4")
    for words in ("--video-codec h264", "--audio speech:hello", "--video image:/run/some.png", "--video file:/run/some.mp4 --audio file:/run/some.mp4",
                  "--video camera:auto --audio microphone:auto --sound speaker:auto", "--picture record:/var/lib/duplex/r --picture overlay"):
        said = serving.ssh(f"env {environment} duplex doctor --config /run/duplex/service.toml {words} 2>&1", check=False)
        missing = [line for line in said.splitlines() if "FAIL" in line and "element" in line]
        assert "element" in said and not missing, f"{words}:\n{said}"


def test_the_owner_sees_how_the_board_is(serving) -> None:  # type: ignore[no-untyped-def]
    """Asked of the service within its confinement: the kernel's files, and the size of data, which only busybox tells here."""
    opener = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(serving.ca))), urllib.request.HTTPCookieProcessor())
    headers = {"Content-Type": "application/json", "Origin": serving.url.rstrip("/")}
    opener.open(urllib.request.Request(serving.url + "api/v1/sign-in", json.dumps({"password": PASSWORD}).encode(), headers), timeout=60)
    seen = json.load(opener.open(serving.url + "api/v1/device", timeout=60))
    print(seen)
    assert seen["problems"] == [] and seen["processors"] == 2 and len(seen["load"]) == 3
    assert seen["kernel"] == serving.ssh("uname -r") and 0 < seen["serviceUptime"] < seen["uptime"]
    assert 800 << 20 < seen["memory"]["total"] < 1 << 30 and seen["memory"]["service"] < seen["memory"]["total"] / 2
    # No time server is in this network, and the kernel of QEMU's board has neither a sensor nor a brake.
    assert seen["clockSynchronised"] is False and seen["throttling"] is None
    data = int(serving.ssh("busybox df -k -P /data | tail -n 1 | busybox awk '{print $2}'")) * 1024
    assert {disk["purpose"] for disk in seen["disks"]} == {"state", "recordings"}
    assert all(disk["total"] == data and 0 < disk["available"] < data for disk in seen["disks"]), seen["disks"]


# --- provisioning --------------------------------------------------------------------------------------------------------

def test_provisioned_settings_hold(serving) -> None:  # type: ignore[no-untyped-def]
    assert serving.ssh("date +%Z") in ("CET", "CEST")
    assert "width = 320" in serving.ssh("cat /run/duplex/service.toml")


@pytest.mark.lg_feature("card")
def test_restart_keeps_identity_and_bad_settings_change_nothing(serving, strategy) -> None:  # type: ignore[no-untyped-def]
    """One restart for two claims, for a start takes a minute: the card's file is bad this time."""
    ca, machine = serving.ca.read_bytes(), serving.ssh("cat /etc/machine-id")
    serving.shut_down()
    text = serving.read("duplex.toml") or ""
    assert 'password = ""' in text and PASSWORD not in text, "the password is blanked on the card"
    assert "# written by the tests" in text
    status = serving.read("status/provision.txt") or ""
    assert status.startswith("duplex.toml was taken in.") and PASSWORD not in status, status
    assert f"ready https://proband.local:8443/" in (serving.read("status/device.txt") or "")
    assert PASSWORD.encode() not in card_bytes(serving), "the password is nowhere in clear on the first partition, in free clusters neither"
    serving.put("duplex.toml", text.replace('hostname = "proband"', 'hostname = "Not A Name!"').replace("width = 320", "width = 7"))
    board = strategy.restart()
    assert board.ca.read_bytes() == ca and board.ssh("cat /etc/machine-id") == machine
    assert board.ssh("hostname") == "proband" and "width = 320" in board.ssh("cat /run/duplex/service.toml")
    assert sign_in(board, PASSWORD) in (200, 204)
    board.shut_down()
    status = board.read("status/provision.txt") or ""
    assert "NOT taken in" in status and "Not A Name!" in status and "width = 7" in status, status
    board.put("duplex.toml", text)


def card_bytes(board) -> bytes:  # type: ignore[no-untyped-def]
    """The first partition as it is, with what is in no file any more."""
    with board.card.open("rb") as file:
        first = boot.partitions(file)[1]
        file.seek(first.start * boot.SECTOR)
        return file.read(first.size * boot.SECTOR)
