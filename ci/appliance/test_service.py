"""The service as its clients meet it, whatever it runs on: a process of this computer, an emulated board, a board."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy
import pytest
from strategy import PASSWORD

from device import wait_for
from stock import RATE, Launch, markers, samples, signaller, source

pytestmark = pytest.mark.lg_feature("service")


def sign_in(board, password: str) -> int:  # type: ignore[no-untyped-def]
    """Status of a sign-in with this password."""
    body = json.dumps({"password": password}).encode()
    context = ssl.create_default_context(cafile=str(board.ca))
    headers = {"Content-Type": "application/json", "Origin": board.url.rstrip("/")}
    request = urllib.request.Request(board.url + "api/v1/sign-in", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60, context=context) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_password_opens_and_another_does_not(serving) -> None:  # type: ignore[no-untyped-def]
    assert sign_in(serving, PASSWORD) in (200, 204)
    assert sign_in(serving, "not the password") in (401, 403)


def test_certificate_chain_and_names(serving) -> None:  # type: ignore[no-untyped-def]
    ca = serving.ca
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", f"{serving.host}:{serving.https}", "-servername", serving.name, "-verify_hostname", serving.name,
         "-CAfile", ca, "-verify_return_error", "-brief"], input=b"", capture_output=True, timeout=60)
    assert shown.returncode == 0, shown.stderr.decode()
    assert b"TLSv1.3" in shown.stderr
    context = ssl.create_default_context(cafile=str(ca))
    # The name by which it is called here, an address on a LAN, is in the certificate as well.
    with urllib.request.urlopen(serving.url, timeout=30, context=context) as answer:
        assert b"<title>" in answer.read()


def test_stock_webrtcsrc_receives_picture_and_tone(serving, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    token = serving.duplex("token new stock --may watch")
    gray, wav = tmp_path / "seen.gray", tmp_path / "heard.wav"
    words = signaller(serving.signalling, ca=serving.ca, token=token)
    launch = Launch(source(words, gray=gray, wav=wav))
    try:
        launch.wait_for_frames(45, 180)
        wait_for("pieces of a tone of 440 Hz", lambda: pieces_of_tone(wav, 440) >= 10, 120)
        seen = markers(gray, 320, 240)
        # A lost packet can turn a bit of a frame's number; that most of them rise shows that the picture moves.
        rising = sum(after >= before for before, after in zip(seen, seen[1:]))
        assert len(set(seen)) > 20 and rising > 0.9 * (len(seen) - 1), seen[:50]
    finally:
        launch.stop()
        serving.duplex("token revoke stock")


def test_two_viewers_at_once(serving) -> None:  # type: ignore[no-untyped-def]
    """The board encodes once, and both get pictures at the same time."""
    token = serving.duplex("token new stock --may watch")
    words = signaller(serving.signalling, ca=serving.ca, token=token)
    launches = [Launch(source(words)) for _ in range(2)]
    try:
        for launch in launches:
            launch.wait_for_frames(20, 180)
        before = [launch.frames() for launch in launches]
        listed = serving.duplex("sessions")
        assert listed.count("watches") == 2, listed
        for launch, count in zip(launches, before):
            launch.wait_for_frames(count + 20, 120)
    finally:
        for launch in launches:
            launch.stop()
        serving.duplex("token revoke stock")


def pieces_of_tone(wav: Path, hz: float) -> int:
    """How many pieces of 20 ms are loud and of this tone: on a busy machine an emulated board's sound has gaps."""
    size, sound = RATE // 50, samples(wav)
    count = 0
    for start in range(0, len(sound) - size, size):
        piece = sound[start:start + size]
        if numpy.abs(piece).max() > 0.01:
            spectrum = numpy.abs(numpy.fft.rfft(piece * numpy.hanning(size), 8 * size))
            count += abs(spectrum.argmax() * RATE / (8 * size) - hz) < 15
    return count
