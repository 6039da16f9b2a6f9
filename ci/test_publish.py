"""The device publishes its one encode by WHIP to a media server of another make, and does so again after whatever ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from device import DUPLEX, TOP, Device, wait_for
from peer import call
from stock import Launch, Program, listening_port, signaller, source
from test_monitoring import health, metrics, work

TOKEN = "a-token-of-the-test"
Start = Callable[..., Device]


class Sfu:
    """``ci/whip.py`` on a port that stays, with a certificate of an authority of its own."""

    def __init__(self, program: Callable[..., Program], folder: Path):
        self.program, self.folder, self.store = program, folder, folder / "sfu-pki"
        for step in (["init"], ["issue", "localhost"]):
            subprocess.run([DUPLEX, "pki", *step, "--dir", self.store], check=True, capture_output=True)
        self.token = folder / "token"
        self.write_token(TOKEN)
        self.port = 0

    @property
    def ca(self) -> Path:
        return self.store / "ca.pem"

    def write_token(self, text: str) -> None:
        self.token.touch(0o600)
        self.token.write_text(text + "\n")

    def start(self, *more: str) -> Program:
        words = ["--cert", self.store / "server.pem", "--key", self.store / "server-key.pem", "--token", TOKEN, "--port", str(self.port)]
        running = self.program(sys.executable, TOP / "ci/whip.py", *words, *more)
        self.port = wait_for("the WHIP server listens", lambda: listening_port(running.process.pid), 60)
        return running

    def flags(self, path: str = "whip") -> list[str]:
        return ["--publish-url", f"https://localhost:{self.port}/door/{path}", "--publish-token-file", str(self.token), "--publish-ca", str(self.ca)]


@pytest.fixture
def sfu(program: Callable[..., Program], tmp_path: Path) -> Sfu:
    return Sfu(program, tmp_path)


def count(server: Program, start: str) -> int:
    return sum(line.startswith(start) for line in server.lines)


def codecs(server: Program) -> list[str]:
    """All that were agreed on so far."""
    return sorted({line.split()[2] for line in server.lines if line.startswith("codec ")})


def wait_for_media(server: Program, number: int = 1, seconds: float = 40.0) -> None:
    """Thirty pictures more, each another one than the one before, and the test tone."""
    seen, before = count(server, f"picture {number} "), count(server, f"tone {number} ")

    def pictures() -> list[int] | None:
        lines = [line.split() for line in server.lines if line.startswith(f"picture {number} ")][seen:]
        found = [int(line[3]) for line in lines if line[3] != "None" and line[2] == "640x360"]
        return found if len(found) > 30 else None

    found = wait_for("thirty pictures at the server", pictures, seconds)
    assert sorted(set(found)) == found and found[-1] - found[0] >= 30, found

    def heard() -> bool:
        lines = [line.split() for line in server.lines if line.startswith(f"tone {number} ")][before:]
        # On a busy machine half a second may have gaps.
        return any(abs(float(line[2]) - 440) < 5 and float(line[3]) > 0.005 for line in lines)

    wait_for("the tone of 440 Hz at the server", heard, seconds)


def encoded_for_one_captured(device: Device) -> float:
    """Pictures encoded, in whatever size, for each captured one, over a hundred."""
    captured = 'duplex_captured_buffers_total{media="picture"}'
    before = work(device)
    after = wait_for("a hundred pictures", lambda: (now := work(device))[captured] >= before[captured] + 100 and now, 40)
    names = [name for name in after if name.startswith('duplex_encoded_buffers_total{media="picture"')]
    return sum(after[name] - before.get(name, 0) for name in names) / (after[captured] - before[captured])


def test_published_once_beside_a_viewer_and_again_after_the_server_died(
    device: Start, sfu: Sfu, launch: Callable[[str], Launch], figure: Callable[[str], None]
) -> None:
    server = sfu.start()
    one = device(*sfu.flags())
    wait_for_media(server)
    assert not [line for line in server.lines if " lacks " in line], server.log()
    assert codecs(server) == ["VP8", "opus"]
    now = metrics(one)
    assert (now["duplex_published"], now["duplex_publications_total"]) == (1, 1)
    failures = now["duplex_publish_failures_total"]
    status = one.command("status")
    assert "published to   localhost" in status.stdout and status.returncode == 0, status.stdout + status.stderr
    alone = encoded_for_one_captured(one)

    viewer = launch(source(signaller(one.signalling, ca=one.ca)))
    viewer.wait_for_frames(30)
    together = encoded_for_one_captured(one)
    figure(f"pictures encoded for one captured: {alone:.2f} while published, {together:.2f} with a viewer as well")
    # A second encode would double it; what is under way at either look is a few pictures.
    assert alone > 0.3 and together < 1.2 * alone
    assert metrics(one)["duplex_viewers_connected"] == 2

    # A power cut: nobody says goodbye.
    seen = len(one.lines)
    server.process.kill()
    line = one.wait_for_log("publishing to localhost fails: .*trying again", 60, after=seen)
    assert "media connection to it ended" in line[0] or "cannot be reached" in line[0], line[0]
    now = metrics(one)
    assert now["duplex_published"] == 0 and now["duplex_publish_failures_total"] > failures
    status = one.command("status")
    assert "Publishing to localhost fails: " in status.stdout and status.returncode == 1, status.stdout
    assert health(one)[0] == 200, "the service does its part"

    frames = viewer.frames()
    server = sfu.start()
    wait_for_media(server, seconds=70)
    one.wait_for_log("published.*localhost", after=seen)
    assert viewer.frames() > frames + 30, "the viewer was disturbed"
    assert one.command("status").returncode == 0
    assert TOKEN not in one.log() and "/door" not in one.log()

    viewer.stop()
    assert one.stop() == 0
    wait_for("the server is told of the end", lambda: "deleted 1" in server.lines, 5)


def test_a_wrong_token_is_told_and_tried_again(device: Start, sfu: Sfu) -> None:
    """Also: the server redirects; the token is read anew for each try; H.264 goes as well as VP8."""
    server = sfu.start()
    sfu.write_token("another")
    one = device(*sfu.flags("elsewhere"), "--video-codec", "h264")
    one.wait_for_log(r"publishing to localhost fails: it refuses the token of publish-token-file \(401 Unauthorized\); trying again")
    wait_for("another try", lambda: count(server, "refused POST") >= 3, 20)
    assert count(server, "redirected") >= 3
    sentence = "Publishing to localhost fails: it refuses the token of publish-token-file (401 Unauthorized)."
    assert sentence in json.loads(call(one, "GET", "/api/v1/device")[2])["faults"]
    assert metrics(one)['duplex_faults_total{part="publish"}'] == 1
    assert one.process and one.process.poll() is None and health(one)[0] == 200
    sfu.write_token(TOKEN)
    wait_for_media(server)
    assert codecs(server) == ["H264", "opus"]
    assert json.loads(call(one, "GET", "/api/v1/device")[2])["faults"] == []
    assert "another" not in one.log()


def test_what_the_server_does_not_take_or_is_not_trusted_with_is_told(device: Start, sfu: Sfu, program: Callable[..., Program], tmp_path: Path) -> None:
    server = sfu.start("--refuse", "video")
    one = device(*sfu.flags())
    one.wait_for_log(r"publishing to localhost fails: it does not take what the device sends \(vp8 with Opus\); video-codec sets another one; trying again")
    wait_for("what was granted is given back", lambda: count(server, "deleted") >= 1, 10)
    one.stop()

    other = tmp_path / "other"
    other.mkdir()
    stranger = Sfu(program, other)
    flags = sfu.flags()
    flags[-1] = str(stranger.ca)
    asked = count(server, "granted")
    two = device(*flags)
    two.wait_for_log("publishing to localhost fails: no TLS with it that can be trusted: .*UnknownIssuer.*trying again")
    assert count(server, "granted") == asked, "an offer went to a server that is not trusted"
    assert metrics(two)["duplex_published"] == 0


def test_a_plain_address_beyond_the_machine_is_refused(tmp_path: Path) -> None:
    words = [str(DUPLEX), "run", "--state-dir", str(tmp_path / "state"), "--listen", "127.0.0.1:0"]
    done = subprocess.run([*words, "--publish-url", "http://sfu.example.org/whip"], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "publish-url" in done.stderr and "must be https://, because plain http:// is for loopback addresses alone" in done.stderr
    wrong = tmp_path / "no-ca.pem"
    wrong.write_text("nothing\n")
    done = subprocess.run([*words, "--publish-url", "https://localhost:1/whip", "--publish-ca", str(wrong)], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "must be a file with certificates in PEM" in done.stderr, done.stderr
