"""What the bench's figures rest on: the bad link does what it says, the load generator counts and is believed, the table's ratios are right,
and each part makes a table of what it measures."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator

import pytest

from bench import PARTS
from bench_parts import board, cost, encode, impairment, joins, latency, leaves
from bench_parts.bad_link import QUEUE, Way, Weather
from bench_parts.receivers import PROGRAM, producers, together, watching
from bench_parts.run import DUPLEX, JANUS, RAW, Run, Sender
from bench_parts.table import Grid, Section
from device import TOP, Device, wait_for
from peer import set_password

#: A packet of 1000 bytes every 4 ms: 2 Mbit/s.
PACKET, EVERY = bytes(1000), 0.004


def carried(weather: Weather, count: int, narrow: bool = True) -> list[tuple[int, float]]:
    """Number of each packet that gets through, and how long it takes."""
    way = Way(-1, 7, narrow)
    found = []
    for number in range(count):
        before = len(way.waiting)
        way.take(PACKET, weather, number * EVERY)
        if len(way.waiting) > before:
            found.append((number, way.waiting[-1][0] - number * EVERY))
    return found


def runs(got: list[tuple[int, float]]) -> list[int]:
    """Lengths of the losses in a row."""
    return [b - a - 1 for (a, _), (b, _) in zip(got, got[1:]) if b - a > 1]


@pytest.mark.parametrize("burst", [1, 8])
def test_as_much_is_lost_as_is_told_and_in_such_bursts(burst: float) -> None:
    got = carried(Weather(loss=0.05, burst=burst), 100_000)
    assert 0.044 < 1 - len(got) / 100_000 < 0.056
    lengths = runs(got)
    assert abs(sum(lengths) / len(lengths) - burst) < 0.12 * burst


def test_half_of_the_delay_is_in_each_direction() -> None:
    for narrow in (True, False):
        assert {round(late, 6) for _, late in carried(Weather(delay=0.3), 100, narrow)} == {0.15}


def test_a_narrow_link_carries_its_rate_and_holds_back_no_more_than_its_queue() -> None:
    got = carried(Weather(rate=500), 1000)
    # 500 of 2000 kbit/s, and what the queue took at first.
    assert 240 <= len(got) <= 270
    assert QUEUE * 0.9 < max(late for _, late in got) <= QUEUE + 0.02
    # It is narrow towards the viewer alone.
    assert len(carried(Weather(rate=500), 1000, narrow=False)) == 1000


def test_a_link_that_widens_keeps_the_order() -> None:
    way = Way(-1, 7, narrow=True)
    for number, weather in enumerate([Weather(delay=0.3)] * 3 + [Weather()] * 3):
        way.take(bytes([number]), weather, number * EVERY)
    assert [packet[0] for _, packet in way.waiting] == list(range(6))
    assert [due for due, _ in way.waiting] == sorted(due for due, _ in way.waiting)


def test_the_load_generator_counts_and_its_reports_are_taken(device: Callable[..., Device]) -> None:
    """The device reads from them what the link carries, as from a browser's."""
    if not PROGRAM.exists():
        pytest.skip("the load generator is not built: cargo build --release --examples")
    one = device("--video-bitrate", "800", plain=True)
    signalling = one.signalling.replace("localhost", "127.0.0.1")
    with watching(signalling, producers(signalling)[0], 2) as receivers:
        receivers.reset()
        wait_for("60 pictures each", lambda: all(viewer["frames"] >= 60 for viewer in receivers.report()), 20)
        assert all(viewer["packets"] > viewer["frames"] and viewer["bytes"] > 50_000 for viewer in receivers.report())

        def delivered() -> bool:
            with urllib.request.urlopen(f"{one.url}metrics", timeout=10) as answer:
                found = re.findall(r"^duplex_session_delivered_bits_per_second\{.*\} (\S+)$", answer.read().decode(), re.M)
            return len(found) == 2 and all(float(value) > 100_000 for value in found)

        wait_for("what the links carry, in the device's metrics", delivered, 20)


def test_a_device_elsewhere_is_measured_by_its_own_metrics(device: Callable[..., Device], tmp_path: Path) -> None:
    """As a board is: over TLS, with its own authority and the owner's password."""
    if not PROGRAM.exists():
        pytest.skip("the load generator is not built: cargo build --release --examples")
    one = device()
    password, file = tmp_path / "password", tmp_path / "figures.json"
    password.write_text(set_password(one) + "\n")
    words = ["--board", one.url, "--ca", one.ca, "--password-file", password, "--quick", "--json", file]

    def bench() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, TOP / "ci/bench.py", *map(str, words)], capture_output=True, text=True, timeout=180)

    done = bench()
    assert done.returncode == 0, done.stdout + done.stderr
    load = json.loads(file.read_text())["load"]
    # What three viewers more cost is less than what the encode swings by.
    assert list(load) == ["0", "1", "4"] and load["0"]["cpu"] < min(load["1"]["cpu"], load["4"]["cpu"]) / 2, load
    assert load["4"]["viewers"] == 4 and load["4"]["fps_least"] > 5 and load["4"]["memory"] > 20
    assert "| processor, each further viewer, % of a core | " in done.stdout
    password.write_text("another one\n")
    done = bench()
    assert done.returncode == 1 and "does not take this password" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_the_table_is_markdown_with_ratios() -> None:
    section = Section("Cost")
    section.add("processor", {"Duplex": 1.0, "stock": 4.0}, 1)
    section.add("idle", {"Duplex": 0.0, "stock": 0.0}, 1)
    section.add("tap", {"Duplex": 7.0}, 0)
    assert section.markdown().splitlines() == [
        "| Cost | Duplex | stock | ratio |", "|---|---|---|---|", "| processor | 1.0 | 4.0 | 0.25 |", "| idle | 0.0 | 0.0 |  |", "| tap | 7 |  |  |"]
    grid = Grid("Link", "a / b", ("still", "pictures"))
    grid.add("loss", [[0.0, 1.25], [30, 29]], (1, 0))
    assert grid.markdown().splitlines() == ["| Link (a / b) | still | pictures |", "|---|---|---|", "| loss | 0.0 / 1.2 | 30 / 29 |"]


#: Made up: what the load generator counts of one viewer, what Chromium says of its picture and sound, what a process costs.
VIEWER = {"connected": True, "frames": 300, "skipped": 0, "gap_ms": 39, "lost": 2, "bytes": 2_000_000, "packets": 2000}
SEEN = {"frames": 300.0, "freezes": 1.0, "frozen": 2.5, "width": 1280.0, "lost": 9.0, "bytes": 2e6, "concealed": 160.0, "gaps": 4.0}
COST = {"cpu": 26.2, "memory": 153.0, "generator": 5.0, **together([VIEWER] * 4, 10.0)}


class Clock:
    """Time that passes at once."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Staged(Run):
    """A run in which nothing runs and all succeeds."""

    joined = 0

    def sender(self, name: str) -> Sender:
        @contextlib.contextmanager
        def watching(viewers: int) -> Iterator[Any]:
            self.joined += viewers
            yield SimpleNamespace(reset=lambda: None, report=lambda: [VIEWER] * viewers)
        return Sender(name, 1, watching, "its id")

    def duplex(self) -> Sender:
        return self.sender(DUPLEX)

    @contextlib.contextmanager
    def stock(self, name: str, *words: str) -> Iterator[Sender]:
        yield self.sender(name)

    @contextlib.contextmanager
    def janus(self) -> Iterator[Sender]:
        yield self.sender(JANUS)

    def metric(self, name: str) -> float:
        return {"duplex_sessions_begun_total": self.joined, "duplex_viewers": 0, "duplex_key_frames_total": 7}[name]


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Staged]:
    """Makes such runs; what each part looks at is made up, what it does with it is its own."""
    for module, made_up in (
        (joins, {"joins": lambda *_: {what: [234.0, 287.0] for what in ("frame", "sound", "still")}, "clicks": lambda *_: [97.0], "taps": lambda *_: [57.0]}),
        (latency, {"readings": lambda *_: [56.0, 61.0]}),
        (cost, {"load": lambda _, viewers, __: COST if viewers else {"cpu": 0.1, "memory": 86.3}}),
        (leaves, {"time": Clock(), "holds": lambda _: {"threads": 8, "descriptors": 23, "memory": 117.0, "own": 20.0}}),
        (impairment, {"time": Clock(), "why_not": lambda: None, "BadLink": lambda *_: SimpleNamespace(space="", port=1, close=lambda: None),
                      "Watcher": lambda *_: SimpleNamespace(stats=lambda: SEEN, close=lambda: None)}),
        (encode, {"in_duplex": lambda *_: 5.29, "alone": lambda *_: 5.15}),
    ):
        for name, value in made_up.items():
            monkeypatch.setattr(module, name, value)
        if hasattr(module, "Chromium"):
            monkeypatch.setattr(module, "Chromium", lambda *_, **__: contextlib.nullcontext())
    return lambda parts, quick: Staged(parts, quick, Path("clip.mp4"), SimpleNamespace(url="http://localhost:1/", port=1))  # type: ignore[arg-type]


def is_a_table(markdown: str) -> None:
    """Every line has as many cells as the head, and a figure for the first column."""
    head, line, *rows = markdown.splitlines()
    assert rows and {text.count("|") for text in (head, line, *rows)} == {head.count("|")}, markdown
    assert all(re.match(r"\| .+? \| -?\d", row) for row in rows), markdown


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("part", PARTS)
def test_each_part_makes_a_table_of_what_it_measures(staged: Callable[..., Staged], part: str, quick: bool) -> None:
    run = staged([part], quick)
    key, measure, rows = PARTS[part]
    measure(run)
    # By way of the file, in which all keys are text.
    is_a_table(rows(json.loads(json.dumps(run.result[key]))).markdown())


def test_a_board_makes_a_table_too() -> None:
    load = {"0": {"cpu": 0.1, "memory": 40.0, "celsius": 41.0}, **{count: {**COST, "celsius": 52.5} for count in ("1", "4")}}
    is_a_table(board.rows({"load": load, "model": "", "kernel": "6.12", "processors": 4, "throttling": None}).markdown())


def test_a_sender_of_comparison_that_fails_leaves_the_figures_before_it(staged: Callable[..., Staged], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(sender: Sender, viewers: int, seconds: float) -> dict[str, Any]:
        assert sender.name != RAW or viewers < 4, "no picture"
        return COST
    monkeypatch.setattr(cost, "load", load)
    run = staged(["cpu"], True)
    with pytest.raises(AssertionError, match="no picture"):
        cost.few(run)
    assert list(run.result["load"]) == [DUPLEX]
    is_a_table(cost.few_rows(run.result["load"]).markdown())


def test_the_command_names_each_part() -> None:
    script = (TOP / "ci/bench").read_text()
    assert re.search(r"^all=\((.*)\)$", script, re.M)[1].split() == list(PARTS)  # type: ignore[index]
    shown = subprocess.run([TOP / "ci/bench", "--help"], capture_output=True, text=True, check=True, timeout=10).stdout
    assert re.findall(r"^      (\w+) ", shown, re.M) == list(PARTS) and shown.endswith("Ctrl-C ends all of it.\n")
