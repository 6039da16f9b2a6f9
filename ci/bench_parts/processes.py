"""What a process costs, as the kernel counts it.

In: process ids. Out: processor time, memory, threads, descriptors. Never: a figure of a process that was not asked for.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(f"... {time.strftime('%H:%M:%S')} {text}", flush=True)


def cpu_of(pid: int) -> float:
    """Seconds of processor time so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def threads_of(pid: int) -> dict[int, tuple[str, float]]:
    """Name and seconds of processor time of each thread."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            text = (task / "stat").read_text()
        except OSError:
            continue  # It ended just now.
        name, rest = text.split("(", 1)[1].rsplit(")", 1)
        fields = rest.split()
        found[int(task.name)] = (name, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    return found


def memory_of(pid: int) -> float:
    """MB, proportional set size: what it shares with others counts by its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells no proportional set size")


def holds(pid: int) -> dict[str, float]:
    """Threads, file descriptors, MB of resident memory, and how much of that is no file's: a kernel may take pages of files away at any time."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    memory, own = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
    return {"threads": int(fields["Threads"]), "descriptors": descriptors, "memory": memory, "own": own}


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Ends a process that was started here."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
