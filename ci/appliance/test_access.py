"""Who may in, over the life of a card: setup code, password, forgotten password, factory reset, all with the card in a computer."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from strategy import PASSWORD
from test_service import sign_in

import boot
from device import TOP, wait_for

pytestmark = pytest.mark.lg_feature(["appliance", "card"])


def setup_code(board) -> str:  # type: ignore[no-untyped-def]
    """The code that a person reads from the console."""
    return board.wait_console(r"enter this setup code: ([A-Z2-9]{4}-[A-Z2-9]{4})", 60)[1]


def set_up(board, code: str, password: str) -> int:  # type: ignore[no-untyped-def]
    """Status of choosing the owner's password with a code."""
    body = json.dumps({"code": code, "password": password}).encode()
    headers = {"Content-Type": "application/json", "Origin": board.url.rstrip("/")}
    request = urllib.request.Request(board.url + "api/v1/setup", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60, context=ssl.create_default_context(cafile=str(board.ca))) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def told(board) -> str:  # type: ignore[no-untyped-def]
    """What the card says of the device while it is on; the device has the card open only while it writes."""
    return (boot.get(board.card, "status/device.txt") or b"").decode(errors="replace")


def made(certificate: Path) -> datetime:
    """When it was made: authorities are valid from a day before that."""
    shown = subprocess.run(["openssl", "x509", "-noout", "-startdate", "-dateopt", "iso_8601", "-in", certificate], check=True, capture_output=True, text=True)
    return datetime.fromisoformat(shown.stdout.strip().removeprefix("notBefore=").removesuffix("Z") + "+00:00") + timedelta(days=1, minutes=5)


def image_made() -> datetime:
    """The date of the packages in it, which is the date of its files."""
    lock = json.loads((TOP / "nix/debian/lock.json").read_text())
    return datetime.strptime(lock["snapshot"] + "+0000", "%Y%m%dT%H%M%SZ%z")


def test_a_fresh_card_to_a_factory_reset(fresh, serving) -> None:  # type: ignore[no-untyped-def]
    """One card, three starts: a setup code; the password forgotten; everything erased, from the other slot."""
    shared = serving.ca.read_bytes()
    board = fresh("second")
    board.on(clock="2001-01-01")
    board.wait_ready()
    code, own = setup_code(board), board.ca.read_bytes()
    assert image_made() < made(board.ca) < image_made() + timedelta(hours=1), "a board that does not know the time takes the image's date for a beginning"
    assert own != shared, "two boards from one image have different authorities"
    with pytest.raises(AssertionError):
        board.ssh("true")
    wait_for("the code on the card", lambda: code in told(board), 60, every=1)
    assert set_up(board, "AAAA-AAAA", PASSWORD) in (400, 401, 403)
    assert set_up(board, code, PASSWORD) in (200, 204) and sign_in(board, PASSWORD) in (200, 204)
    wait_for("a card that tells of no code any more", lambda: "ready https://" in told(board) and code not in told(board), 120, every=1)
    board.off()
    text = board.read("status/device.txt") or ""
    assert "password" not in text and re.search(r"ready https://duplex-[0-9a-f]{4}\.local:8443/", text), text

    board.put("forget-password.txt", "")
    board.on()
    board.wait_ready()
    again = setup_code(board)
    assert again != code and board.ca.read_bytes() == own, "the authority stays, the code is another"
    assert sign_in(board, PASSWORD) in (401, 403)
    assert set_up(board, again, "another " + PASSWORD) in (200, 204)
    board.off()
    assert board.read("forget-password.txt") is None
    assert "All passwords were removed" in (board.read("status/provision.txt") or "")

    board.put("factory-reset.txt", "")
    board.on(trial=True)
    board.wait_console(r"slot B on")
    board.wait_console(r"factory reset")
    # QEMU takes a discard and passes nothing on, like many a reader.
    board.wait_console(r"erased: the old data is overwritten")
    board.wait_ready()
    assert board.ca.read_bytes() != own, "after a factory reset the board has a new authority"
    assert setup_code(board) not in (code, again) and sign_in(board, "another " + PASSWORD) in (401, 403)
    board.off()
    assert board.read("factory-reset.txt") is None
