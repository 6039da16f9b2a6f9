"""What the bench's figures rest on: the bad link does what it says, the load generator counts and is believed, the table's ratios are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Callable

import pytest

from bench_parts.bad_link import QUEUE, Way, Weather
from bench_parts.receivers import PROGRAM, producers, watching
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
    assert list(load) == ["0", "1", "4"] and load["0"]["cpu"] < load["1"]["cpu"] < load["4"]["cpu"], load
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
