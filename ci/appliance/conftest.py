"""Fixtures of the appliance's tests: boards by labgrid, log and console per test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

from device import wait_for

# Only with an image, and with labgrid's own plugin, is there anything to test here; ci/test-image sets both up.
collect_ignore_glob = [] if os.environ.get("LG_IMAGE") else ["test_*.py"]


@pytest.fixture
def serving(strategy):  # type: ignore[no-untyped-def]
    """The shared board, provisioned and serving; a test that switched it off leaves it so for the next."""
    strategy.transition("serving")
    if not strategy.board.process:
        strategy.restart()
    return strategy.board


@pytest.fixture
def settings(serving) -> Iterator[Callable[..., None]]:  # type: ignore[no-untyped-def]
    """Restarts the service with more lines in its unit; afterwards it runs as it was configured."""
    folder = "/run/systemd/system/duplex.service.d"

    def restart() -> None:
        serving.ssh("systemctl daemon-reload && systemctl restart duplex.service")
        wait_for("the page", lambda: serving.get("/") is not None, 180, every=1)

    def choose(*lines: str) -> None:
        serving.ssh(f"mkdir -p {folder} && cat > {folder}/test.conf", text="\n".join(("[Service]", *lines, "")))
        restart()

    yield choose
    serving.ssh(f"rm -r {folder}", check=False)
    restart()


@pytest.fixture(scope="session", autouse=True)
def power_off(strategy) -> Iterator[None]:  # type: ignore[no-untyped-def]
    """No emulated board outlives the tests."""
    yield
    if strategy.board:
        strategy.board.off()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that flash a card of their own come last: they switch the shared board off, for two at once are slow."""
    items.sort(key=lambda item: "fresh" in getattr(item, "fixturenames", ()))


@pytest.fixture
def fresh(target, strategy) -> Iterator[Callable]:  # type: ignore[no-untyped-def]
    """Makes boards whose cards were just flashed; they are switched off after the test. The shared one is off meanwhile."""
    maker = target.get_driver("EmulatedBoard")
    boards = []

    def make(name: str, speaker: bool = False):  # type: ignore[no-untyped-def]
        if strategy.board:
            strategy.board.off()
        boards.append(maker.new_board(name, speaker))
        return boards[-1]

    yield make
    for board in boards:
        print(f"--- end of {board.folder.name}'s console\n{board.console()[-2500:]}")
        board.off()
        board.card.unlink(missing_ok=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):  # type: ignore[no-untyped-def]
    """Keeps the shared board's journal beside the report of a failed test."""
    outcome = yield
    report = outcome.get_result()
    board = item.funcargs.get("serving") if hasattr(item, "funcargs") else None
    if report.when == "call" and report.failed and board is not None and board.process:
        journal = board.journal()
        report.sections.append(("journal of the board", journal))
        out = Path(__file__).resolve().parent.parent / "out"
        out.mkdir(exist_ok=True)
        (out / f"{item.name}.journal").write_text(journal)
