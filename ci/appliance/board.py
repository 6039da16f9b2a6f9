"""Boards for labgrid: what can be switched on, looked at over its console and network, and whose card can be taken out.

In: an image. Out: a running board with its URL, console text, SSH; files of its card while it is off.
Never: a process that outlives the test, a fixed port, a write to the image that was given.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import attr
from labgrid import target_factory
from labgrid.driver import Driver

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import boot  # noqa: E402
from device import Device, wait_for  # noqa: E402

#: Emulation shares a machine with much else; on a board this is far more than enough.
BOOT_SECONDS = float(os.environ.get("DUPLEX_BOOT_SECONDS", "420"))
CARD_SIZE = 3 << 30


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago; QEMU takes no 0."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Board:
    """One emulated board with a card of its own."""

    def __init__(self, image: Path, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.card = folder / "card.img"
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(image), str(self.card)], check=True)
        # A card is larger than the image; that data grows is part of the first start.
        os.truncate(self.card, CARD_SIZE)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.https = self.http = self.ssh_port = 0
        self.key = folder / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key)], check=True)

    # --- power ---------------------------------------------------------------------------------------------------------
    def on(self, append: str = "", trial: bool = False) -> None:
        """Switches it on: the firmware's steps, then the kernel."""
        found = boot.start(self.card, trial)
        self.starts += 1
        (self.folder / "kernel").write_bytes(found.kernel)
        (self.folder / "initramfs").write_bytes(found.initramfs)
        self.https, self.http, self.ssh_port = free_ports(3)
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{inner}" for port, inner in ((self.https, 8443), (self.http, 80), (self.ssh_port, 22)))
        self.process = subprocess.Popen([
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-accel", "tcg,thread=multi", "-nodefaults",
            "-display", "none", "-no-reboot", "-kernel", str(self.folder / "kernel"), "-initrd", str(self.folder / "initramfs"),
            "-append", f"{found.cmdline} duplex.partition={found.slot} {append}",
            "-drive", f"file={self.card},format=raw,if=none,id=card,cache=unsafe", "-device", "virtio-blk-pci,drive=card",
            "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.console_file}",
        ], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def off(self) -> None:
        """Pulls the plug."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait(30)
            self.process = None

    def shut_down(self) -> None:
        """As `poweroff` does."""
        self.ssh("systemctl poweroff", check=False)
        assert self.process
        self.process.wait(180)
        self.process = None

    # --- what it shows -------------------------------------------------------------------------------------------------
    @property
    def console_file(self) -> Path:
        return self.folder / f"console{self.starts}"

    def console(self) -> str:
        """All that was shown since it was switched on."""
        return self.console_file.read_text(errors="replace").replace("\r", "") if self.console_file.exists() else ""

    def wait_console(self, pattern: str, seconds: float = BOOT_SECONDS) -> re.Match[str]:
        """Waits for a text on the console; fails with its end."""
        def probe() -> re.Match[str] | None:
            match = re.search(pattern, self.console(), re.MULTILINE)
            if not match and self.process and self.process.poll() is not None:
                raise AssertionError(f"the board stopped; the end of its console:\n{self.console()[-3000:]}")
            return match
        try:
            return wait_for(f"{pattern!r} on the console", probe, seconds, every=0.5)
        except AssertionError:
            print(self.console()[-4000:])
            raise

    def wait_ready(self) -> None:
        """Waits until it serves."""
        began = time.monotonic()
        self.wait_console(r"^ready https://")
        wait_for("an answer of the page", lambda: self.get("/") is not None, 60, every=1)
        print(f"serving {time.monotonic() - began:.0f} s after it was switched on")

    # --- network -------------------------------------------------------------------------------------------------------
    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}/"

    @property
    def signalling(self) -> str:
        return f"wss://localhost:{self.https}"

    @property
    def ca(self) -> Path:
        """The authority's certificate, as the plain port offers it."""
        path = self.folder / "ca.pem"
        with urllib.request.urlopen(f"http://localhost:{self.http}/ca.pem", timeout=30) as answer:
            path.write_bytes(answer.read())
        return path

    def get(self, path: str) -> bytes | None:
        """The page over HTTPS, unverified; ``None`` while nobody answers."""
        context = ssl._create_unverified_context()  # noqa: S323: the certificate has tests of its own
        try:
            with urllib.request.urlopen(self.url.rstrip("/") + path, timeout=10, context=context) as answer:
                return answer.read()
        except OSError:
            return None

    def ssh(self, command: str, check: bool = True, text: str | None = None) -> str:
        """Runs a command on the board with the key that was provisioned."""
        words = ["ssh", "-q", "-i", str(self.key), "-p", str(self.ssh_port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "root@localhost", command]
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=180)
        if check and done.returncode:
            raise AssertionError(f"{command!r} on the board ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    # --- the card in a computer ----------------------------------------------------------------------------------------
    def put(self, name: str, text: str) -> None:
        """Writes a file onto the card's first partition; the board must be off."""
        assert not self.process, "the card is in the board"
        boot.put(self.card, name, text.encode())

    def read(self, name: str) -> str | None:
        """Reads a file of the card's first partition."""
        assert not self.process, "the card is in the board"
        body = boot.get(self.card, name)
        return None if body is None else body.decode().replace("\r\n", "\n")


@target_factory.reg_driver
@attr.s(eq=False)
class EmulatedBoard(Driver):
    """Makes emulated boards from one image."""

    image = attr.ib(default="", validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._scratch = tempfile.TemporaryDirectory(prefix="duplex-board-")
        self._boards: list[Board] = []

    def new_board(self, name: str) -> Board:
        """A board whose card was just flashed."""
        board = Board(Path(self.image), Path(self._scratch.name) / name)
        self._boards.append(board)
        return board

    def on_deactivate(self) -> None:
        for board in self._boards:
            board.off()
        self._scratch.cleanup()


@target_factory.reg_driver
@attr.s(eq=False)
class LocalProcess(Driver):
    """Makes devices that are processes here, see ci/device.py."""

    def new_device(self, folder: Path, *flags: str) -> Device:
        return Device(folder, *flags)
