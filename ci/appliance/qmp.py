"""QEMU's control connection, as far as hot-plugging needs it.

In: the socket of a running QEMU. Out: answers to commands. Never: an error of QEMU's that is passed over.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any


class Qmp:
    """One connection; it ends with the ``with`` statement."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw", encoding="utf-8")
        self.file.readline()  # the greeting
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: Any) -> Any:
        """Sends a command and waits for its answer; events in between are dropped."""
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while line := self.file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"QEMU refused {name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise AssertionError(f"QEMU ended before it answered {name}")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()
