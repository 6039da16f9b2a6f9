"""The device under test as a local process.

In: keys of the configuration. Out: a running service with its URL, CA, log; measured processor time.
Never: a fixed port, a state folder that outlives the test, a process left running.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any, Callable, Iterable, Sequence, TypeVar

TOP = Path(__file__).resolve().parent.parent
DUPLEX = TOP / "target/release/duplex"
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], seconds: float = 20.0, every: float = 0.1) -> T:
    """Calls ``probe`` until it gives something true; fails, naming ``what``, after so many seconds."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        last = probe()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last seen: {last!r})")
        time.sleep(every)


def end_processes(processes: Iterable[subprocess.Popen[Any]], seconds: float = 5) -> None:
    """Ends these processes, the last one first: by SIGTERM, and by SIGKILL what is still there after so many seconds."""
    for process in reversed(list(processes)):
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(seconds)


class Device:
    """One ``duplex run`` on loopback, started at once and stopped by ``stop`` or the ``with`` statement."""

    def __init__(self, folder: Path, *flags: str, plain: bool = False, port: int = 0, picture_size: str = "640x360", log_format: str = "human",
                 through: Sequence[str] = ()):
        self.folder = folder
        #: A program that becomes it, with that program's own words.
        self.through = through
        self.state = folder / "state"
        width, height = picture_size.split("x")
        self.flags = ["--width", width, "--height", height, "--listen", f"127.0.0.1:{port}", "--state-dir", str(self.state)]
        if not any(flag == "--sound" for flag in flags):
            self.flags += ["--sound", "discard"]
        self.flags += ["--log-format", log_format, *(["--plain=true"] if plain else []), *flags]
        self.lines: list[str] = []
        #: The error output, where it is read apart: with a log for machines.
        self.errors: list[str] | None = [] if log_format == "json" else None
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.start()

    def start(self) -> None:
        """Starts it and waits until it says that it is ready."""
        self.lines = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DUPLEX_")}
        self.process = subprocess.Popen(
            [*self.through, str(DUPLEX), "run", *self.flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment,
            stderr=subprocess.STDOUT if self.errors is None else subprocess.PIPE,
        )
        for pipe in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._read, args=(pipe, pipe is self.process.stderr), daemon=True).start()
        self.url = wait_for("the line that says ready", self._ready, 30)

    def _read(self, pipe: IO[str] | None, errors: bool) -> None:
        for line in pipe or ():
            self.lines.append(line.rstrip("\n"))
            if errors and self.errors is not None:
                self.errors.append(line.rstrip("\n"))

    def _ready(self) -> str | None:
        assert self.process
        for line in self.lines:
            # Of several addresses that of this machine itself comes last.
            if re.match(r"ready https?://localhost:", line):
                return line.removeprefix("ready ").strip()
        if self.process.poll() is not None:
            raise AssertionError(f"duplex ended with {self.process.returncode}:\n" + "\n".join(self.lines))
        return None

    @property
    def port(self) -> int:
        match = re.search(r":(\d+)/", self.url)
        assert match
        return int(match[1])

    @property
    def ca(self) -> Path:
        """The CA's certificate, PEM."""
        return self.state / "pki/ca.pem"

    @property
    def signalling(self) -> str:
        """Address for stock clients."""
        return ("wss" if self.url.startswith("https") else "ws") + f"://localhost:{self.port}"

    def log(self) -> str:
        return "\n".join(self.lines)

    def wait_for_log(self, pattern: str, seconds: float = 20.0, after: int = 0) -> re.Match[str]:
        """Waits for a line, among those from index ``after`` on, that the pattern is found in."""
        return wait_for(f"a log line like {pattern!r}", lambda: next((m for line in self.lines[after:] if (m := re.search(pattern, line))), None), seconds)

    def command(self, *words: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs another command of the program on the same state folder."""
        return subprocess.run([str(DUPLEX), *words, "--state-dir", str(self.state)], input=text, capture_output=True, text=True, timeout=60)

    def processor_seconds(self) -> float:
        """Processor time used so far, user and system."""
        assert self.process
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """As a power cut would."""
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """As Ctrl-C would; the exit code."""
        assert self.process
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("duplex did not stop within 20 s of SIGINT:\n" + self.log()) from None
        return self.process.returncode

    def restart(self) -> None:
        """Stops it and starts it again on the same port."""
        port = self.port
        self.stop()
        self.flags[self.flags.index("--listen") + 1] = f"127.0.0.1:{port}"
        self.start()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
