"""Boards for labgrid: what can be switched on, looked at over its console and network, and whose card can be taken out.

In: an image. Out: a running board with its URL, console text, SSH, a USB speaker whose sound is a file; files of its card while it is off.
Never: a process that outlives the test, a fixed port, a write to the image that was given.
"""

from __future__ import annotations

import os
import re
import shlex
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
from network import Forwards, Lan, Port  # noqa: E402
from qmp import Qmp  # noqa: E402

#: Emulation shares a machine with much else; on a board this is far more than enough.
BOOT_SECONDS = float(os.environ.get("DUPLEX_BOOT_SECONDS", "420"))
CARD_SIZE = 3 << 30
#: The one that is plugged in from the start, and another; by the names of their sound files.
USB_SPEAKERS = {name: f"usb-audio,id={name},audiodev={name},bus=usb.0" for name in ("speaker", "second-speaker")}


class Board:
    """One emulated board with a card of its own.

    ``speaker``: a USB speaker is plugged in when it is switched on; its sound is in :attr:`speaker_file`. It can be pulled and put back,
    and a second one plugged in.
    """

    def __init__(self, image: Path, folder: Path, port: Port, speaker: bool = False):
        self.folder = folder
        self.port = port
        self.speaker = speaker
        folder.mkdir(parents=True, exist_ok=True)
        self.card = folder / "card.img"
        subprocess.run(["cp", "--reflink=auto", "--sparse=always", str(image), str(self.card)], check=True)
        # A card is larger than the image; that data grows is part of the first start.
        os.truncate(self.card, CARD_SIZE)
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.key = folder / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key)], check=True)

    # --- power ---------------------------------------------------------------------------------------------------------
    def on(self, append: str = "", trial: bool = False, clock: str = "utc") -> None:
        """Switches it on: the firmware's steps, then the kernel. ``clock``: what its clock chip says, such as ``2001-01-01``."""
        found = boot.start(self.card, trial)
        self.starts += 1
        (self.folder / "kernel").write_bytes(found.kernel)
        (self.folder / "initramfs").write_bytes(found.initramfs)
        self.process = subprocess.Popen([
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-accel", "tcg,thread=multi", "-nodefaults",
            "-display", "none", "-no-reboot", "-kernel", str(self.folder / "kernel"), "-initrd", str(self.folder / "initramfs"),
            "-append", f"{found.cmdline} duplex.partition={found.slot} {append}",
            "-rtc", f"base={clock}", "-drive", f"file={self.card},format=raw,if=none,id=card,cache=unsafe", "-device", "virtio-blk-pci,drive=card",
            *self.port.words, "-device", "virtio-rng-pci", "-serial", f"file:{self.console_file}",
            "-qmp", f"unix:{self.folder}/qmp,server=on,wait=off", "-device", "qemu-xhci,id=usb",
            *(word for name in USB_SPEAKERS for word in ("-audiodev", f"wav,id={name},path={self.folder / name}.wav,out.frequency=48000")),
            *(["-device", USB_SPEAKERS["speaker"]] if self.speaker else []),
        ], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(self.folder / "qemu.log").open("ab"))

    def off(self) -> None:
        """Pulls the plug."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait(30)
            self.process = None

    def provision(self, settings: str, password: str) -> None:
        """Writes its settings onto the card, with a key for the tests."""
        self.put("duplex.toml", settings.format(password=password, key=self.key.with_suffix(".pub").read_text().strip()))

    def shut_down(self) -> None:
        """As `poweroff` does."""
        self.ssh("systemctl poweroff", check=False)
        assert self.process
        self.process.wait(180)
        self.process = None

    # --- what is plugged in ------------------------------------------------------------------------------------------------
    @property
    def speaker_file(self) -> Path:
        """WAV of what the USB speaker was given since it was plugged in: 48000 Hz, stereo, 16 bits."""
        return self.folder / "speaker.wav"

    @property
    def second_speaker_file(self) -> Path:
        """The same of the second one."""
        return self.folder / "second-speaker.wav"

    def plug_speaker(self, name: str = "speaker") -> None:
        """Puts a USB speaker in."""
        driver, *properties = USB_SPEAKERS[name].split(",")
        with Qmp(self.folder / "qmp") as control:
            control.command("device_add", driver=driver, **dict(one.split("=", 1) for one in properties))
        self.speaker |= name == "speaker"

    def pull_speaker(self, name: str = "speaker") -> None:
        """Takes a USB speaker out."""
        with Qmp(self.folder / "qmp") as control:
            control.command("device_del", id=name)
        self.speaker &= name != "speaker"

    def usb_socket(self) -> Path:
        """A USB port for a device that is a program (see usb_camera.py): plugged in while it is connected to this socket of usbredir's."""
        path = self.folder / "usb-port"
        with Qmp(self.folder / "qmp") as control:
            if "usb-port" not in [one["label"] for one in control.command("query-chardev")]:
                address = {"type": "unix", "data": {"path": str(path)}}
                control.command("chardev-add", id="usb-port", backend={"type": "socket", "data": {"addr": address, "server": True, "wait": False}})
                control.command("device_add", driver="usb-redir", id="usb-port", chardev="usb-port", bus="usb.0")
        return path

    def load(self, module: str, *parameters: str) -> None:
        """Makes virtual devices: the kernel's vivid (a camera), snd-aloop (a sound card whose output is its input)."""
        self.ssh(f"modprobe {module} {' '.join(parameters)}")

    def unbind(self, driver: str, device: str) -> None:
        """Takes a device from its driver, as if it was pulled out: ``unbind("vivid", "vivid.0")``."""
        self.ssh(f"echo {device} > /sys/bus/platform/drivers/{driver}/unbind")

    def bind(self, driver: str, device: str) -> None:
        """Gives it back."""
        self.ssh(f"echo {device} > /sys/bus/platform/drivers/{driver}/bind")

    def send(self, file: Path, path: str, mode: int = 0o644) -> None:
        """Copies a file onto the running board; only /run, /tmp and /data can be written."""
        with file.open("rb") as body:
            subprocess.run([*self.ssh_words(), f"cat > {path} && chmod {mode:o} {path}"], stdin=body, check=True, timeout=300)

    def try_service(self, program: Path) -> None:
        """Runs another build of the service until the next start, without a new image."""
        self.ssh("umount /usr/bin/duplex", check=False)
        self.send(program, "/run/duplex-on-trial", 0o755)
        self.ssh("mount --bind /run/duplex-on-trial /usr/bin/duplex && systemctl restart duplex")

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
                said = (self.folder / "qemu.log").read_text(errors="replace")
                raise AssertionError(f"the board stopped; QEMU said {said!r}; the end of its console:\n{self.console()[-3000:]}")
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
    def host(self) -> str:
        """Its address here."""
        return self.port.host

    #: The name under which it is announced, and which is in its certificate.
    name = "proband.local"

    @property
    def https(self) -> int:
        """The port of the page, here."""
        return self.port.https

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.https}/"

    @property
    def signalling(self) -> str:
        return f"wss://{self.host}:{self.https}"

    @property
    def help(self) -> str:
        """The plain page with the authority's certificate."""
        return f"http://{self.host}:{self.port.http}/"

    @property
    def ca(self) -> Path:
        """The authority's certificate, as the plain port offers it."""
        path = self.folder / "ca.pem"
        with urllib.request.urlopen(self.help + "ca.pem", timeout=30) as answer:
            path.write_bytes(answer.read())
        return path

    def get(self, path: str, token: str | None = None) -> bytes | None:
        """The page over HTTPS, unverified; ``None`` while nobody answers. ``token``: a machine's, where one is asked for."""
        context = ssl._create_unverified_context()  # noqa: S323: the certificate has tests of its own
        request = urllib.request.Request(self.url.rstrip("/") + path, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.read()
        except OSError:
            return None

    def duplex(self, words: str, check: bool = True) -> str:
        """Runs a command of the program for the running service."""
        return self.ssh(f"duplex {words} --state-dir /var/lib/duplex", check)

    def journal(self) -> str:
        """Its end."""
        return self.ssh("journalctl -b --no-pager | tail -n 60", check=False)

    def ssh_words(self) -> list[str]:
        return ["ssh", "-q", "-i", str(self.key), "-p", str(self.port.ssh), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", f"root@{self.host}"]

    def ssh(self, command: str, check: bool = True, text: str | None = None) -> str:
        """Runs a command on the board with the key that was provisioned."""
        done = subprocess.run([*self.ssh_words(), command], input=text, capture_output=True, text=True, timeout=180)
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
    """Makes emulated boards from one image; ``network`` is ``lan`` (see network.py) or ``forwards``."""

    image = attr.ib(default="", validator=attr.validators.instance_of(str))
    network = attr.ib(default="lan", validator=attr.validators.in_(("lan", "forwards")))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._scratch = tempfile.TemporaryDirectory(prefix="duplex-board-")
        self._boards: list[Board] = []
        self._network: Lan | Forwards | None = None

    def new_board(self, name: str, speaker: bool = False) -> Board:
        """A board whose card was just flashed."""
        if self._network is None:
            self._network = Lan(Path(self._scratch.name)) if self.network == "lan" else Forwards()
        board = Board(Path(self.image), Path(self._scratch.name) / name, self._network.port(), speaker)
        self._boards.append(board)
        return board

    def on_deactivate(self) -> None:
        for board in self._boards:
            board.off()
        if self._network:
            self._network.close()
        self._scratch.cleanup()


class LocalBoard:
    """The service as a process of this computer, as far as it can pass for a board."""

    host, name = "localhost", "localhost"

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: Device | None = None
        self.password = ""

    def provision(self, settings: str, password: str) -> None:
        """The same small picture; the card's other settings are no matter here."""
        self.password = password

    def on(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = Device(self.folder, "--name", "Proband", "--framerate", "15", "--ladder", "off", picture_size="320x240")
        assert self.run_duplex(self.password + "\n", "passwd").returncode == 0
        self.process.restart()

    def off(self) -> None:
        if self.process:
            self.process.stop()
            self.process = None

    def shut_down(self) -> None:
        self.off()

    def journal(self) -> str:
        """What it logged since its last start."""
        return self.process.log() if self.process else ""

    def wait_console(self, pattern: str) -> None:
        """It has none, and is there as soon as it was started."""

    def wait_ready(self) -> None:
        """``on`` has waited."""

    def run_duplex(self, text: str | None, *words: str) -> subprocess.CompletedProcess[str]:
        assert self.process
        return self.process.command(*words, text=text)

    def duplex(self, words: str) -> str:
        """Runs a command of the program for the running service."""
        done = self.run_duplex(None, *shlex.split(words))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def https(self) -> int:
        assert self.process
        return self.process.port

    @property
    def url(self) -> str:
        assert self.process
        return self.process.url

    @property
    def signalling(self) -> str:
        assert self.process
        return self.process.signalling

    @property
    def ca(self) -> Path:
        assert self.process
        return self.process.ca


@target_factory.reg_driver
@attr.s(eq=False)
class LocalProcess(Driver):
    """Makes boards that are processes here, see ci/device.py."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._scratch = tempfile.TemporaryDirectory(prefix="duplex-local-")
        self._boards: list[LocalBoard] = []

    def new_board(self, name: str, speaker: bool = False) -> LocalBoard:
        self._boards.append(LocalBoard(Path(self._scratch.name) / name))
        return self._boards[-1]

    def on_deactivate(self) -> None:
        for board in self._boards:
            board.off()
        self._scratch.cleanup()
