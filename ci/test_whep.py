"""Players that speak WHEP: an independent one (``ci/whep.py``), and a browser without the device's page."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from browser import Chromium
from device import TOP, Device, wait_for
from peer import Peer, bearer, call, code, new_token, set_password, sign_in
from stock import Program

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
Run = Callable[..., Program]
SDP = {"Content-Type": "application/sdp"}
# What a browser offers that would watch; in the codecs that fit, if it is asked.
OFFER = """async (codecs) => {
  window.player = new RTCPeerConnection();
  const video = player.addTransceiver('video', { direction: 'recvonly' });
  player.addTransceiver('audio', { direction: 'recvonly' });
  if (codecs) video.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => codecs.includes(mimeType)));
  await player.setLocalDescription(await player.createOffer());
  return player.localDescription.sdp;
}"""
# Sends it to the device, and shows what comes.
PLAY = """async (offer) => {
  const answer = await fetch('/whep', { method: 'POST', body: offer, headers: { 'Content-Type': 'application/sdp' } });
  if (answer.status !== 201) return answer.status;
  const video = document.createElement('video');
  video.id = 'played';
  video.muted = true;
  video.srcObject = new MediaStream();
  player.ontrack = ({ track }) => video.srcObject.addTrack(track);
  document.body.append(video);
  await player.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  await video.play();
  window.place = answer.headers.get('Location');
  return answer.status;
}"""
COUNT = "document.querySelector('#played').getVideoPlaybackQuality().totalVideoFrames"


def player(program: Run, one: Device, *words: str) -> Program:
    trust = ["--ca", str(one.ca)] if one.url.startswith("https") else []
    return program(sys.executable, TOP / "ci/whep.py", f"{one.url}whep", *trust, *words)


def numbers(running: Program) -> list[int]:
    """Of the pictures that came, in order."""
    return [int(found.group(1)) for line in running.lines if (found := re.match(r"picture 1 \d+x\d+ (\d+)", line))]


def sessions(one: Device, owner: dict[str, str]) -> list[dict[str, Any]]:
    return list(json.loads(call(one, "GET", "/api/v1/sessions", headers=owner)[2])["sessions"])


def test_a_player_with_a_token_sees_and_hears_until_it_has_enough(device: Start, program: Run) -> None:
    one = device()
    owner = sign_in(one, set_password(one))
    running = player(program, one, "--token", new_token(one, "watch"))
    wait_for("pictures", lambda: len(numbers(running)) > 40, 30)
    wait_for("the tone", lambda: any(re.match(r"tone 1 4[34]\d", line) for line in running.lines), 15)
    seen = numbers(running)
    assert seen == sorted(seen) and len(set(seen[-20:])) > 10, seen
    (session,) = sessions(one, owner)
    assert session["watching"] and session["role"] == "viewer" and session["token"], session
    running.process.send_signal(signal.SIGINT)
    assert running.end() == 0 and "ended 204" in running.log()
    wait_for("nobody is connected", lambda: not sessions(one, owner))
    one.wait_for_log("a player that watched by WHEP is gone")


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_player_takes_what_it_likes(device: Start, program: Run, kind: str) -> None:
    running = player(program, device(plain=True), "--take", kind)
    wait_for(kind, lambda: any(line.startswith("picture" if kind == "video" else "tone 1 44") for line in running.lines), 30)
    assert not any(line.startswith("tone" if kind == "video" else "picture") for line in running.lines)


def test_a_player_that_is_gone_without_a_word_makes_room(device: Start, program: Run) -> None:
    one = device("--max-viewers", "1", plain=True)
    running = player(program, one)
    wait_for("pictures", lambda: len(numbers(running)) > 5, 30)
    late = player(program, one)
    assert late.end() == 0 and "answered 503" in late.log() and "too many viewers (1)" in late.log()
    running.process.kill()
    one.wait_for_log("a player that watched by WHEP is gone", 60)
    again = player(program, one)
    wait_for("pictures again", lambda: len(numbers(again)) > 5, 30)


def test_the_door(device: Start, tmp_path: Path) -> None:
    """Who may not watch, and what is no offer, gets a sentence; the others go on."""
    one = device()
    set_password(one)
    watch = bearer(new_token(one, "watch"))

    def refused(status: int, name: str, headers: dict[str, str], raw: bytes = b"v=0\r\n") -> None:
        assert code(call(one, "POST", "/whep", headers=headers, raw=raw)) == (status, name)

    refused(401, "notSignedIn", SDP)
    refused(401, "wrongToken", {**SDP, **bearer("wrong")})
    refused(403, "notAllowed", {**SDP, **bearer(new_token(one, "talk"))})
    refused(403, "wrongOrigin", {**SDP, **watch, "Origin": "https://elsewhere.example"})
    refused(415, "notSdp", {"Content-Type": "application/json", **watch})
    refused(413, "tooLarge", {**SDP, **watch}, b"a" * 70_000)
    refused(400, "badRequest", {**SDP, **watch}, b"\xff\xfe")
    for text in (b"garbage", b"v=0\r\n", b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n", bytes(range(1, 9)) * 1000):
        refused(406, "notAcceptable", {**SDP, **watch}, text)
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(f"{one.url}trust")
        offer = page.evaluate(f"({OFFER})(null)").encode()
        status, headers, answer = call(one, "POST", "/whep", headers={**SDP, **watch}, raw=offer)
        assert (status, headers["content-type"]) == (201, "application/sdp") and b"a=candidate:" in answer and b"a=sendonly" in answer
        place, other = f"/{headers['location']}", bearer(new_token(one, "watch"))
        with Peer(one, watch) as person:
            assert code(call(one, "DELETE", f"/whep/{person.id}", headers=watch)) == (404, "unknownPlayer")
        assert code(call(one, "DELETE", place, headers=other)) == (404, "unknownPlayer")
        assert call(one, "DELETE", place, headers=watch)[0] == 204
        assert code(call(one, "DELETE", place, headers=watch)) == (404, "unknownPlayer")
        assert code(call(one, "PATCH", place, headers=watch, raw=b"x"))[0] == 405
        # Of a codec that is not there no picture comes, and the sound does.
        assert b"m=video 0" in call(one, "POST", "/whep", headers={**SDP, **watch}, raw=page.evaluate(f"({OFFER})(['video/AV1'])").encode())[2]


def test_a_browser_without_our_page(device: Start, tmp_path: Path) -> None:
    """A page of the device's own origin that knows WHEP alone: pictures move, and stop when the owner ends the session."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(f"{one.url}trust")
        assert page.evaluate(f"(async () => ({PLAY})(await ({OFFER})(null)))()") == 201
        wait_for("pictures", lambda: page.evaluate(COUNT) > 30, 20)
        place = page.evaluate("window.place")
        (session,) = sessions(one, {})
        assert place.endswith(session["id"])
        ended = one.command("sessions", "end", session["id"])
        assert ended.returncode == 0, ended.stderr
        wait_for("the connection is closed", lambda: page.evaluate("player.connectionState") in ("closed", "disconnected", "failed"), 30)
