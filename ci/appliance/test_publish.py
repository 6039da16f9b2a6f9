"""The board publishes to a media server (WHIP, on aiortc) as its card says: address, token, and the authority of the server's certificate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest
from network import HOST
from strategy import PASSWORD, SETTINGS

from device import TOP, wait_for
from stock import Program, listening_port

pytestmark = pytest.mark.lg_feature(["appliance", "lan", "card"])

TOKEN = "a-token-of-the-test"
PUBLISH = """
[publish]
url = "https://{host}:{port}/door/whip"
token = "{token}"
ca = "sfu-ca.pem"
"""
#: An emulated board on a busy machine.
PATIENCE = 180.0


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Program]]:
    """Starts ci/whip.py on the boards' network, with a certificate of an authority of its own in ``sfu-ca.pem``."""
    started: list[Program] = []

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tmp_path, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    openssl("req", "-x509", *new, "-subj", "/CN=SFU authority", "-days", "2", "-keyout", "ca-key.pem", "-out", "sfu-ca.pem")
    openssl("req", *new, "-subj", "/CN=SFU", "-keyout", "key.pem", "-out", "request.pem")
    (tmp_path / "names").write_text(f"subjectAltName=IP:{HOST}\n")
    openssl("x509", "-req", "-in", "request.pem", "-CA", "sfu-ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "cert.pem")

    def start() -> Program:
        words = ["--host", HOST, "--cert", tmp_path / "cert.pem", "--key", tmp_path / "key.pem", "--token", TOKEN]
        started.append(Program([sys.executable, TOP / "ci/whip.py", *words]))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        print(one.log()[-2000:])


def test_it_publishes_as_its_card_says(fresh, serve: Callable[[], Program], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    # The network, and with it the server's address, is there with the first board.
    board = fresh("publisher")
    server = serve()
    port = wait_for("the WHIP server listens", lambda: listening_port(server.process.pid), 60)
    board.put("sfu-ca.pem", (tmp_path / "sfu-ca.pem").read_text())
    board.provision(SETTINGS + PUBLISH.format(host=HOST, port=port, token=TOKEN), PASSWORD)
    board.on()
    board.wait_ready()

    def seen(start: str) -> list[list[str]]:
        return [line.split() for line in server.lines if line.startswith(start)]

    # Another one may follow on a slow board: that of the last grant is meant.
    def number() -> str:
        return (seen("granted ") or [["", "none"]])[-1][1]

    wait_for("thirty numbered pictures at the server", lambda: len({line[3] for line in seen(f"picture {number()} ")} - {"None"}) > 30, PATIENCE)
    wait_for("the tone of 440 Hz at the server", lambda: any(abs(float(line[2]) - 440) < 5 and float(line[3]) > 0.005 for line in seen(f"tone {number()} ")), PATIENCE)
    status = board.duplex("status")
    assert f"published to   {HOST}" in status, status
    assert board.ssh("stat -c '%a %U' /run/duplex/publish-token") == "600 duplex"
    assert TOKEN not in board.ssh("cat /run/duplex/service.toml; journalctl -b --no-pager")
    board.shut_down()
    wait_for("the server is told of the end", lambda: f"deleted {number()}" in server.lines, 10)
    text, said = board.read("duplex.toml") or "", board.read("status/provision.txt") or ""
    assert 'token = ""' in text and TOKEN not in text + said and f"It is published to {HOST}." in said, (text, said)
