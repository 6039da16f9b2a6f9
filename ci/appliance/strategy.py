"""States of the appliance under test: off -> booted -> provisioned -> serving.

In: a board of the target. Out: the board in the wanted state. Never: a state that was not reached.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path

import attr
from labgrid import target_factory
from labgrid.strategy import Strategy, StrategyError

sys.path.insert(0, str(Path(__file__).resolve().parent))

from board import Board, LocalBoard  # noqa: E402

PASSWORD = "a horse, a battery"
#: Small and slow, for an emulated processor: one size of the picture, and patience with packets that were not taken in time.
SETTINGS = """# written by the tests
hostname = "proband"
password = "{password}"
timezone = "Europe/Berlin"
ssh-keys = ["{key}"]

[service]
name = "Proband"
width = 320
height = 240
framerate = 15
video-bitrate = 300
ladder = "off"
jitter-buffer = 300
negotiation-timeout = 60
sound = "speaker:auto"
picture = ["overlay"]
"""


class Status(enum.Enum):
    """Where the board is."""

    unknown = 0
    off = 1
    booted = 2
    provisioned = 3
    serving = 4


@target_factory.reg_driver
@attr.s(eq=False)
class ApplianceStrategy(Strategy):
    """Brings the target's one shared board into a state."""

    bindings = {"maker": {"EmulatedBoard", "LocalProcess"}}
    status = attr.ib(default=Status.unknown)
    board: Board | LocalBoard | None = None

    def transition(self, wanted: str | Status, *, step: object = None) -> None:
        """Goes there by the way of the states between."""
        wanted = Status[wanted] if isinstance(wanted, str) else wanted
        if wanted == self.status:
            return
        if wanted == Status.off:
            self.target.activate(self.maker)
            if self.board is None:
                self.board = self.maker.new_board("shared", speaker=True)
            self.board.off()
        elif wanted == Status.booted:
            self.transition(Status.off)
            assert self.board
            self.board.provision(SETTINGS, PASSWORD)
            self.board.on()
            self.board.wait_console(r"duplex: slot [AB] on")
        elif wanted == Status.provisioned:
            self.transition(Status.booted)
            assert self.board
            self.board.wait_console(r"duplex.toml was taken in")
        elif wanted == Status.serving:
            self.transition(Status.provisioned)
            assert self.board
            self.board.wait_ready()
        else:
            raise StrategyError(f"there is no way to {wanted}")
        self.status = wanted

    def restart(self) -> Board:
        """Shuts down, starts again, waits until it serves."""
        assert self.board
        if self.board.process:
            self.board.shut_down()
        self.board.on()
        self.board.wait_ready()
        self.status = Status.serving
        return self.board
