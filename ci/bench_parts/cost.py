"""What viewers cost a sender: processor time and memory with none, few and many, and whether many get every picture.

In: senders, counts. Out: figures by sender and count. Never: a viewer that decodes; a count that began before all viewers have a
picture.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from bench_parts.processes import cpu_of, memory_of, say
from bench_parts.receivers import together
from bench_parts.run import DUPLEX, ENCODED, RAW, Run, Sender
from bench_parts.table import Section

#: How many watch.
VIEWERS, QUICK_VIEWERS = (0, 1, 4, 8), (0, 1, 4)
#: How many must be served by two cores, the load generator among what they do.
MANY = 32
#: Longer than the time after which Duplex stops when nobody watches, s.
IDLE = 8.0
#: What starts with a viewer is done by then, s.
SETTLE = 2.0


def load(sender: Sender, viewers: int, seconds: float) -> dict[str, Any]:
    """Processor time in per cent of a core, memory in MB, and what viewers got, with so many of them."""
    say(f"{sender.name}: {viewers} viewers")
    if viewers == 0:
        time.sleep(IDLE if sender.name == DUPLEX else SETTLE)
        before, began = cpu_of(sender.pid), time.monotonic()
        time.sleep(seconds)
        return {"cpu": (cpu_of(sender.pid) - before) / (time.monotonic() - began) * 100, "memory": memory_of(sender.pid)}
    with sender.watching(viewers) as receivers:
        time.sleep(SETTLE)
        receivers.reset()
        before, generator, began = cpu_of(sender.pid), cpu_of(receivers.pid), time.monotonic()
        time.sleep(seconds)
        report, took = receivers.report(), time.monotonic() - began
        used, generator = cpu_of(sender.pid) - before, cpu_of(receivers.pid) - generator
        figures = together(report, took)
        assert figures["packets_per_second"] > 30, f"viewers received too little: {figures}"
        return {"cpu": used / took * 100, "memory": memory_of(sender.pid), "generator": generator / took * 100, **figures}


def few(run: Run) -> None:
    """The parts ``cpu`` and ``janus``."""
    seconds, counts = (2.5, QUICK_VIEWERS) if run.quick else (12, VIEWERS)
    with contextlib.closing(run.senders()) as senders:
        for sender in senders:
            figures = {str(count): load(sender, count, seconds) for count in counts}
            # One by one: a sender that fails takes nothing from those before.
            run.result.setdefault("load", {})[sender.name] = figures


def many(run: Run) -> None:
    """The part ``viewers``: as many as must be served without a picture less."""
    seconds = 4 if run.quick else 30
    with contextlib.closing(run.senders()) as senders:
        # An encoder for each of so many viewers is more than the machine has.
        without = (RAW, ENCODED) if run.quick else (RAW,)
        loads = {sender.name: many_of(sender, seconds) for sender in senders if sender.name not in without}
    run.result["many"] = {name: figures for name, figures in loads.items() if figures}


def many_of(sender: Sender, seconds: float) -> dict[str, Any] | None:
    """``None``: not so many viewers have a picture in time, with a sender that is compared with."""
    try:
        return load(sender, MANY, seconds)
    except (TimeoutError, AssertionError) as error:
        if sender.name == DUPLEX:
            raise
        say(f"{sender.name}: {MANY} viewers have no picture in time: {error or type(error).__name__}")
        return None


def few_rows(found: dict[str, Any]) -> Section:
    section = Section("What the sender costs")
    counts = list(next(iter(found.values())))
    least, most = counts[1], counts[-1]

    def further(figures: dict[str, Any], what: str) -> float:
        return float(figures[most][what] - figures[least][what]) / (int(most) - int(least))

    for what, name, unit in (("cpu", "processor", "% of a core"), ("memory", "memory", "MB")):
        for count in counts:
            section.add(f"{name}, {count} viewers, {unit}", {who: figures[count][what] for who, figures in found.items()})
        section.add(f"{name}, each further viewer, {unit}", {who: further(figures, what) for who, figures in found.items()}, 2)
    section.add("each viewer gets, kbit/s", {who: figures[most]["kbits"] for who, figures in found.items()}, 0)
    return section


def many_rows(found: dict[str, Any]) -> Section:
    section = Section(f"{MANY} viewers at once")
    for what, name, digits in (
        ("fps_least", "pictures a second, the viewer with the fewest", 1), ("skipped", "pictures missing, all viewers together", 0),
        ("lost", "packets missing, all viewers together", 0), ("gap_ms", "longest time between two pictures, ms", 0),
        ("cpu", "processor, % of a core", 1), ("memory", "memory, MB", 1), ("generator", "processor of the load generator, % of a core", 1),
    ):
        section.add(name, {who: figures[what] for who, figures in found.items()}, digits)
    return section
