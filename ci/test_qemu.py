"""``ci/qemu``: the size of a kept card, and what is said when the board ends. QEMU and the programs around it are stand-ins here; the
real board is started by ci/test-image.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from device import TOP, wait_for

pytestmark = pytest.mark.beside

MIB = 1 << 20
SERVES = "Open the page and enter this setup code: ABCD-EFGH\r\nready https://door.local:8443/\r\n"
DAMAGED = "Kernel panic - not syncing: dm-verity device corrupted\r\n"
#: What the programs are that ci/qemu calls. The board shows $SAY, once its page was asked for $LATE, and ends with $CODE then, or never.
PROGRAMS = {
    "dpkg-query": "printf installed",
    "python3": 'case $1 in ci/boot.py) mkdir "$3"; : > "$3/cmdline"; [ "${4-}" = --try ] && echo 3 || echo 2 ;; *) exec ' + sys.executable + ' "$@" ;; esac',
    "qemu-img": 'case $1 in resize) truncate -s "$6" "$5" ;; esac',
    "curl": 'touch "$FOLDER/asked"',
    "sleep": 'echo >> "$FOLDER/looks"; exec /bin/sleep 0.1',
    "qemu-system-aarch64": 'for word; do case $word in file:*) console=${word#file:} ;; esac; done\nprintf %s "$SAY" > "$console"; echo $$ > "$FOLDER/pid"\n'
                           'until [ -e "$FOLDER/asked" ]; do /bin/sleep 0.1; done; printf %s "$LATE" >> "$console"\n'
                           '[ -z "$CODE" ] || exit "$CODE"\nexec /bin/sleep 60',
}


class Script:
    """``ci/qemu`` among the stand-ins, with a card of 16 MiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.card = folder / "card.img"
        self.card.touch()
        os.truncate(self.card, 16 * MIB)
        for name, text in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)

    def start(self, *words: str, size: str = "", say: str = SERVES, late: str = "", code: str = "") -> subprocess.Popen[str]:
        env = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}", "FOLDER": str(self.folder), "SIZE": size, "SAY": say, "LATE": late, "CODE": code}
        return subprocess.Popen([TOP / "ci/qemu", *words, self.card], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def pid(self) -> int:
        """The board's process; 0 before there is one."""
        file = self.folder / "pid"
        return int(file.read_text().strip() or 0) if file.exists() else 0

    def looks(self) -> int:
        """How often the script has waited for its next look."""
        file = self.folder / "looks"
        return file.stat().st_size if file.exists() else 0

    def run(self, *words: str, **how: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        (self.folder / "asked").unlink(missing_ok=True)
        with self.start(*words, **how) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err


@pytest.fixture
def qemu(tmp_path: Path) -> Script:
    return Script(tmp_path)


def test_a_kept_card_grows_and_never_shrinks(qemu: Script) -> None:
    code, _, err = qemu.run("--keep", size="8M", code="0")
    assert code == 1 and "less than the 16 MiB" in err and qemu.card.stat().st_size == 16 * MIB, err
    code, _, err = qemu.run("--keep", size="much", code="0")
    assert code == 1 and "is no size" in err, err
    code, _, err = qemu.run(size="32M", code="0")
    assert code == 0 and qemu.card.stat().st_size == 16 * MIB, err
    code, _, err = qemu.run("--keep", size="32m", code="0")
    assert code == 0 and "from 16 to 32 MiB" in err and qemu.card.stat().st_size == 32 * MIB, err


def test_the_end_of_the_board_is_told(qemu: Script) -> None:
    code, out, err = qemu.run(code="0")
    assert code == 0 and "switched itself off" in err and "ABCD-EFGH" in out and "how to trust it  http://" in out, (out, err)
    code, out, err = qemu.run(say="ready https://door.local:8443/\r\n", code="1")
    assert code == 1 and "error: the emulated board ended" in err and "A password is set" in out, (out, err)


@pytest.mark.parametrize("say", [SERVES, "booting\r\n"])
def test_a_killed_board_is_told_in_words(qemu: Script, say: str) -> None:
    with qemu.start(say=say) as process:
        pid = wait_for("the board's number", qemu.pid, 60)
        if say == SERVES:
            assert process.stdout
            wait_for("ready", lambda: process.stdout.readline().startswith("ready https://localhost"), 60)
        os.kill(pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "error: the emulated board ended" in err and "Killed" not in err, err


def test_a_damaged_system_is_told_with_what_to_do(qemu: Script) -> None:
    code, _, err = qemu.run(say=DAMAGED)
    assert code == 1 and "upper boot_partition to 3" in err.replace("\n", " "), err
    code, _, err = qemu.run("--try", say=DAMAGED)
    assert code == 1 and "without --try" in err, err
    # While it serves: once, however often one looks.
    with qemu.start(late=DAMAGED) as process:
        assert process.stderr
        said = wait_for("what to do", lambda: "boot_partition" in (line := process.stderr.readline()) and line, 60)
        enough = qemu.looks() + 3
        wait_for("more looks", lambda: qemu.looks() >= enough, 60)
        os.kill(qemu.pid(), signal.SIGKILL)
        said += process.communicate(timeout=60)[1]
    assert said.count("boot_partition") == 1, said
