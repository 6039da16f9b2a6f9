"""A network that is gone for a while, as when a laptop leaves the Wi-Fi's reach: what the page and the device do, and how soon both are back.

Nobody is told of it: packets get nowhere, in either direction. Times are printed. DROP_SECONDS=300 tries another length.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Callable

import pytest

from browser import Chromium
from device import Device, wait_for
from links import Link, why_not
from peer import Peer, call, set_password, sign_in

LENGTHS = [float(word) for word in os.environ.get("DROP_SECONDS", "5 30").split()]


@pytest.mark.parametrize("seconds", LENGTHS)
def test_the_network_drops(device: Callable[..., Device], tmp_path: Path, seconds: float) -> None:
    """In mid-talk: the page says so, the device does not keep the turn for ever, and both are back without a hand on them."""
    if reason := why_not():
        pytest.skip(reason)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    link = Link("drop", port)
    try:
        one = device("--listen", f"{link.device}:{port}", port=port)
        word = set_password(one)
        owner = sign_in(one, word)
        with Chromium(tmp_path / "home", one.ca, space=link.space) as chromium:
            page = chromium.open(f"https://{link.device}:{port}/")
            page.wait_data(view="sign-in")
            page.page.fill("#password", word)
            page.click("#sign-in")
            page.wait_data(state="live")
            page.wait_tone(440)
            page.start_talk()
            link.cut()
            began = time.monotonic()
            page.wait_data(20, state="reconnecting")
            said = time.monotonic() - began
            if seconds >= 30:
                # Whoever asks for the turn of somebody who is gone has it soon.
                with Peer(one, owner) as other:
                    assert call(one, "POST", "/api/v1/talk", {"peer": other.id}, headers=owner)[0] == 200
                    one.wait_for_log("turn ends", 30)
                    print(f"the turn was given on {time.monotonic() - began:.1f} s after the cut")
                    assert call(one, "POST", "/api/v1/talk/release", {"peer": other.id}, headers=owner)[0] == 200
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            link.mend()
            began = time.monotonic()
            page.wait_data(60, state="live")
            page.wait_frame()
            page.wait_tone(440)
            print(f"network gone for {seconds:.0f} s: told after {said:.1f} s, picture and sound back {time.monotonic() - began:.1f} s after it was")
            # Either the turn is the page's still, or it was given on; what the page knew before it was back does not count.
            talk = wait_for("a settled turn", lambda: {"idle": "idle", "talking": "talking"}.get(page.evaluate("document.getElementById('app').dataset.talk")))
            if talk == "idle":
                page.start_talk()
            page.end_talk()
    finally:
        link.close()
