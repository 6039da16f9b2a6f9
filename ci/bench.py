"""Figures of Duplex beside a stock webrtcsink with raw and with encoded input, and beside Janus; see ``ci/bench --help``.

In: built programs, the real clip. Out: the README's table, a JSON file. Never: a verdict on seconds of another run; traffic beyond this
machine; a process that outlives the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Callable

from bench_parts import board, cost, encode, impairment, janus, joins, latency, leaves
from bench_parts.processes import say
from bench_parts.run import BITRATE, Run
from bench_parts.table import Grid, Section, machine
from clip import fetch_clip
from device import TOP, Device

#: Key in the result, what measures it, what makes rows of it.
Part = tuple[str, Callable[[Run], None], Callable[[dict[str, Any]], Section | Grid]]
PARTS: dict[str, Part] = {
    "joins": ("joins_ms", joins.measure, joins.rows),
    "latency": ("latency_ms", latency.measure, latency.rows),
    "cpu": ("load", cost.few, cost.few_rows),
    "janus": ("load", cost.few, cost.few_rows),
    "viewers": ("many", cost.many, cost.many_rows),
    "leaves": ("leaves", leaves.measure, leaves.rows),
    "impairment": ("impairment", impairment.measure, impairment.rows),
    "encode": ("encode_ms", encode.measure, encode.rows),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, default=TOP / "ci/out/bench.json")
    parser.add_argument("--board", metavar="URL")
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--password-file", type=Path)
    words = parser.parse_args()
    if words.board:
        return elsewhere(parser, words)
    if unknown := [part for part in words.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]}; there are: {', '.join(PARTS)}")
    parts = words.parts or list(PARTS)
    if "janus" in parts and (reason := janus.why_not()):
        say(f"without Janus: {reason}")
        parts.remove("janus")
    began, clip = time.monotonic(), fetch_clip()
    with tempfile.TemporaryDirectory() as folder:
        source = ["--video", f"file:{clip}", "--audio", f"file:{clip}", "--video-bitrate", str(BITRATE)]
        with Device(Path(folder), *source, picture_size="1280x720", plain=True) as device:
            run = Run(parts, words.quick, clip, device, {"machine": machine(), "quick": words.quick})
            keys = list(dict.fromkeys(PARTS[part][0] for part in parts))
            failed = [key for key in keys if not measured(key, run, words.json)]
    print()
    for key in (key for key in keys if key in run.result):
        print(of(key)[2](run.result[key]).markdown(), end="\n\n")
    where = run.result["machine"]
    print(f"{time.strftime('%Y-%m-%d')}, {where['cores']} cores of {where['processor']}, {where['system']}, {where['gstreamer']}, Linux {where['kernel']}, load "
          f"before {where['load']:.1f}; 720p30 of bigbuckbunny.mp4, VP8 at {BITRATE} kbit/s; {'quick, ' if words.quick else ''}"
          f"{time.monotonic() - began:.0f} s. Figures: {words.json}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; see above")


def elsewhere(parser: argparse.ArgumentParser, words: argparse.Namespace) -> None:
    """A device that is not of this run: what it costs it to be watched."""
    if words.parts or not (words.ca and words.password_file):
        parser.error("--board wants --ca and --password-file, and has no parts")
    for name, file in (("--ca", words.ca), ("--password-file", words.password_file)):
        if not file.is_file():
            parser.error(f"{name} = {file}: must be a file")
    one = board.Board(words.board, words.ca)
    one.sign_in(words.password_file.read_text().splitlines()[0])
    found = board.measure(one, words.quick)
    words.json.parent.mkdir(parents=True, exist_ok=True)
    words.json.write_text(json.dumps(found, indent=1))
    print(f"\n{board.rows(found).markdown()}\n\n{time.strftime('%Y-%m-%d')}, Linux {found['kernel']}, held back: {found['throttling'] or 'not told'}. Figures: {words.json}")


def of(key: str) -> Part:
    return next(part for part in PARTS.values() if part[0] == key)


def measured(key: str, run: Run, path: Path) -> bool:
    """Measures one part, with a device that has done nothing before; what was measured is kept, whatever comes of it and of the next."""
    try:
        run.device.restart()
        of(key)[1](run)
    except Exception:
        traceback.print_exc()
        return False
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run.result, indent=1))
    return True


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
