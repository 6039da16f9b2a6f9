"""Whether viewers who left leave something behind: threads, file descriptors and memory of the service after few joins and after many.

In: rounds of viewers that decode nothing; each joins, gets pictures, and leaves with its round. Out: what the service holds while nobody
watches. Never: a figure while somebody is there or something is still captured; a join that the service did not count.

How much memory glibc keeps depends on how many arenas its allocator may have: ``MALLOC_ARENA_MAX``, which the service inherits from here.
"""

from __future__ import annotations

import time
from typing import Any

from bench_parts.processes import holds, say
from bench_parts.run import DUPLEX, Run
from bench_parts.table import Grid
from device import wait_for

#: How many watch at the same time; the device lets in few more.
AT_ONCE = 30
#: Longer than the time after which what capture had has gone back to the kernel for the last time, and for the first time, s.
IDLE, QUICK_IDLE = 55.0, 12.0
#: After which rounds it is looked. What a process keeps for good is there after the first; some 500 joins come after it.
ROUNDS, QUICK_ROUNDS = (1, 9, 18), (1, 4)


def measure(run: Run) -> None:
    """The part ``leaves``."""
    sender, looks, found = run.duplex(), QUICK_ROUNDS if run.quick else ROUNDS, {}
    for number in range(1, looks[-1] + 1):
        say(f"{DUPLEX}: {AT_ONCE} viewers join and leave, {number} of {looks[-1]}")
        with sender.watching(AT_ONCE):
            pass
        wait_for("all have left", lambda: run.metric("duplex_viewers") == 0, 20)
        joins = run.metric("duplex_sessions_begun_total")
        assert joins == number * AT_ONCE, f"{joins:.0f} joins counted after {number} rounds of {AT_ONCE}"
        if number in looks:
            time.sleep(QUICK_IDLE if run.quick else IDLE)
            found[f"{joins:.0f}"] = holds(sender.pid)
    run.result["leaves"] = found


def rows(found: dict[str, Any]) -> Grid:
    grid = Grid(f"Joins and leaves, {AT_ONCE} viewers at a time", DUPLEX, (*(f"after {joins} joins" for joins in found), "more than at first, %"))
    for what, name, digits in (("threads", "threads", 0), ("descriptors", "file descriptors", 0), ("memory", "resident memory, MB", 1),
                               ("own", "of it no file's, MB", 1)):
        figures = [one[what] for one in found.values()]
        grid.add(name, [*([one] for one in figures), [(figures[-1] / figures[0] - 1) * 100]], (*(digits for _ in figures), 1))
    return grid
