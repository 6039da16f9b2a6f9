"""The plug is pulled while a call is recorded: what of it the owner finds after the next start.

QEMU is killed. What it had been given for the card stays, in this computer's cache; what the board's own system still kept in its memory is lost,
as on a board. A file that is written beside the recording without being synced shows that it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from owner import Owner
from strategy import PASSWORD

from device import wait_for
from stock import markers
from test_recording import level, packet_times, sound, streams, titles

pytestmark = pytest.mark.lg_feature(["appliance", "power"])

PATIENCE = 180.0
#: How long is recorded, seconds of the board.
SECONDS = 8.0
#: What a power cut may cost.
LOST = 1.0
#: How far behind the board's clock its end may be while it runs, before the cut: a board that has just begun is later, and so is an emulated
#: one whose processor has too much to do.
LATE = 0.7
TRACKS = ("v:0", "a:0", "a:1")
#: How well this computer must know the board's clock for that to mean anything.
CLOCK = 0.3
#: Each answer of the board's clock, never synced.
UNSYNCED = "/data/unsynced"


class BoardClock:
    """The board's clock and this computer's, compared over one connection: both go at the same rate, for QEMU takes its time from here.

    Each question is answered at some moment between its going out and its coming back; what all answers have in common is what is known.
    The kernel tells its uptime in hundredths of a second; how that goes with the time of day each line of the journal tells to the microsecond.
    """

    def __init__(self, board):  # type: ignore[no-untyped-def]
        line = json.loads(board.ssh("journalctl -b -n 1 -o json --no-pager").splitlines()[-1])
        self.started = (int(line["__REALTIME_TIMESTAMP"]) - int(line["__MONOTONIC_TIMESTAMP"])) / 1e6
        tell = f"while read -r line; do read -r up rest < /proc/uptime; echo $up; echo $up >&3; done 3> {UNSYNCED}"
        self.shell = subprocess.Popen([*board.ssh_words(), tell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: The board's time of day less this computer's clock lies between these.
        self.least, self.most = float("-inf"), float("inf")
        self.ask()

    def ask(self) -> float:
        """The board's time of day, and a closer look at the difference."""
        assert self.shell.stdin and self.shell.stdout
        before = time.monotonic()
        self.shell.stdin.write("\n")
        self.shell.stdin.flush()
        said = self.started + float(self.shell.stdout.readline())
        after = time.monotonic()
        self.least, self.most = max(self.least, said - after), min(self.most, said + 0.01 - before)
        assert self.least <= self.most, f"the clocks go apart: {self.least} to {self.most}"
        return said

    def stop(self) -> None:
        self.shell.kill()
        self.shell.communicate()


@pytest.fixture
def few_pictures(serving, settings) -> None:  # type: ignore[no-untyped-def]
    """An emulated processor that encodes many pictures has no time left for the sound."""
    settings("Environment=DUPLEX_FRAMERATE=4")
    serving.duplex("source set audio test")


def beginning(path: Path) -> float:
    """When a recording began, by the clock of the board."""
    words = ["ffprobe", "-v", "error", "-show_entries", "format_tags=creation_time", "-of", "json", str(path)]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)["format"]["tags"]["creation_time"]
    return datetime.strptime(told, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.long
def test_a_power_cut_costs_a_recording_its_last_second_at_most(serving, few_pictures, figure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What is missing of each track is the time from its last packet to the cut, both by the board's clock.

    When the plug was pulled this computer knows by its own clock, and the board's only as well as two clocks can be compared through a
    network: the figure says how well. The test takes the earliest that it can have been; it fails when a second has certainly been lost.
    An emulated board makes picture and sound late: it is cut when the file is no later than one that is written four times a second has to be.
    """
    # What is not synced the board's kernel keeps in memory for as long as it can.
    serving.ssh("echo 0 > /proc/sys/vm/dirty_writeback_centisecs; echo 60000 > /proc/sys/vm/dirty_expire_centisecs")
    owner = Owner(serving, PASSWORD)
    kept = {entry["name"] for entry in owner.ask("recordings")}
    assert owner.ask("recording", {"action": "start"})["on"]
    clock = BoardClock(serving)

    def behind() -> dict[str, float] | None:
        """How far the recording is behind the board's clock while it runs, once each track is long enough, and in time."""
        asked = clock.ask()
        names = {entry["name"] for entry in owner.ask("recordings")} - kept
        if not names:
            return None
        running = owner.download(f"recordings/{names.pop()}", tmp_path / "running")
        ends = {track: (packet_times(running, track) or [0.0])[-1] for track in TRACKS}
        late = {track: asked - beginning(running) - end for track, end in ends.items()}
        return late if min(ends.values()) > SECONDS and max(late.values()) < LATE else None

    try:
        began = clock.ask()
        late = wait_for(f"{SECONDS} s of each track", behind, PATIENCE, every=2)
        last = clock.ask()
        cut = time.monotonic()
        serving.off()
    finally:
        clock.stop()
    earliest, unsure = cut + clock.least, clock.most - clock.least
    assert unsure < CLOCK and last > earliest - 1

    serving.on()
    serving.wait_ready()
    owner = Owner(serving, PASSWORD)
    # The file may be longer than what is in it.
    left = re.findall(r"^\d+\.\d\d$", serving.ssh(f"cat {UNSYNCED}; rm -f {UNSYNCED}"), re.MULTILINE)
    unsynced = last - (clock.started + float(left[-1]) if left else began)
    assert unsynced > 2 * LOST, f"this was no power cut: the board has what it never synced, up to {unsynced:.1f} s before"
    (entry,) = (entry for entry in owner.ask("recordings") if entry["name"] not in kept)
    assert entry["cutOff"] and not entry["recording"], entry
    file = owner.download(f"recordings/{entry['name']}", tmp_path / entry["name"])
    assert file.stat().st_size == entry["bytes"]
    # Every frame of it is decoded.
    assert titles(file) == [("vp8", "Device"), ("opus", "Conversation"), ("opus", "Device alone")]
    zero = beginning(file)
    lost = {track: earliest - zero - packet_times(file, track)[-1] for track in TRACKS}
    figure(f"lost by a power cut, s: {', '.join(f'{track} {seconds:.2f}' for track, seconds in lost.items())}; before it the file was behind by "
           f"{', '.join(f'{seconds:.2f}' for seconds in late.values())}; of what is never synced {unsynced:.1f}; "
           f"the clocks are compared to {unsure:.3f} s")
    assert max(lost.values()) <= LOST, (lost, late)
    assert min(lost.values()) > -unsure - 0.1, "a packet of after the cut: the clocks were compared wrongly"

    gray = tmp_path / "shown.gray"
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(file), "-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", str(gray)],
                   check=True, timeout=120)
    seen = markers(gray, 320, 240)
    assert len(set(seen)) > 20 and seen[-1] > seen[0], seen
    for track in (0, 1):
        # Somewhere: an emulated processor leaves holes in the sound.
        assert level(sound(file, track), 440, share=100) > 0.01
    assert float(streams(file)[0]["file_duration"]) == pytest.approx(entry["seconds"], abs=0.1)
    owner.ask(f"recordings/{entry['name']}", method="DELETE")
