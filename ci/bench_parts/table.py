"""The table, as the README has it: a section for each part, Duplex first, the others with the ratio of Duplex to them.

In: rows of figures. Out: Markdown. Never: a column without a figure; a ratio to nothing.
"""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Section:
    """Rows under one heading; a figure is by whose it is, and the first one named is what the ratios are of."""

    name: str
    rows: list[tuple[str, dict[str, float], int]] = field(default_factory=list)

    def add(self, name: str, figures: dict[str, float], digits: int = 1) -> None:
        self.rows.append((name, figures, digits))

    def columns(self) -> list[str]:
        return list(dict.fromkeys(who for _, figures, _ in self.rows for who in figures))

    def markdown(self) -> str:
        first, *others = self.columns()
        lines = [f"| {self.name} | {first} |" + "".join(f" {other} | ratio |" for other in others), "|---|" + "---|" * (1 + 2 * len(others))]
        for name, figures, digits in self.rows:
            own = figures.get(first)
            cells = [shown(own, digits)]
            for other in others:
                cells += [shown(figures.get(other), digits), ratio(own, figures.get(other))]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(lines)


@dataclass
class Grid:
    """Rows of cells with the figures of several side by side: ``whose`` says in which order. Without ratios, for many of them are none."""

    name: str
    whose: str
    columns: tuple[str, ...]
    lines: list[str] = field(default_factory=list)

    def add(self, name: str, cells: list[list[float]], digits: tuple[int, ...]) -> None:
        texts = [" / ".join(shown(value, places) for value in cell) for cell, places in zip(cells, digits)]
        self.lines.append(f"| {name} | {' | '.join(texts)} |")

    def markdown(self) -> str:
        return "\n".join([f"| {self.name} ({self.whose}) | {' | '.join(self.columns)} |", "|---" * (1 + len(self.columns)) + "|", *self.lines])


def shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def ratio(own: float | None, other: float | None) -> str:
    return "" if own is None or other is None or abs(other) < 0.05 else f"{own / other:.2f}"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    gstreamer = subprocess.run(["gst-launch-1.0", "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[1]
    return {"processor": processor, "cores": os.cpu_count(), "system": system, "gstreamer": gstreamer, "kernel": platform.release(),
            "load": os.getloadavg()[0]}
