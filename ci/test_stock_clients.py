"""The recipes with gst-launch: stock clients among themselves, and with the device, over ws and wss, both directions.

autovideosink is a counted fakesink here and autoaudiosink a WAV file; sources are test sources. Everything else is as a
person types it.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

from browser import Chromium, strongest_hz, write_tone
from device import DUPLEX, TOP, Device, wait_for
from peer import Peer, bearer, new_token, set_password
from stock import PLUGINS, RATE, Launch, Program, markers, samples, signaller, sink, source, tone, wait_for_tone

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
Run = Callable[[str], Launch]


@dataclass
class Server:
    """Where signalling is, and whom to trust there."""

    uri: str
    ca: Path | None
    registered: Callable[[], object] = lambda: None


@pytest.fixture(params=["ws", "wss"])
def stock_server(request: pytest.FixtureRequest, program: Callable[..., Program], tmp_path: Path) -> Server:
    """The stock signalling server; over TLS with a certificate of ``duplex pki``."""
    words: list[str | Path] = [PLUGINS / "gst-webrtc-signalling-server", "--host", "127.0.0.1", "--port", "0"]
    ca = None
    if request.param == "wss":
        store = tmp_path / "pki"
        for step in (["init"], ["issue", "localhost", "127.0.0.1"]):
            subprocess.run([DUPLEX, "pki", *step, "--dir", store], check=True, capture_output=True)
        words += ["--cert", store / "server.pem", "--key", store / "server-key.pem"]
        ca = store / "ca.pem"
    running = program(*words)
    # A stock consumer looks for its first producer only once, when it connects.
    registered = lambda: wait_for("a producer is registered", lambda: "registered as [Producer]" in running.log(), 20)  # noqa: E731
    return Server(f"{request.param}://localhost:{running.port()}", ca, registered)


@pytest.fixture(params=["ws", "wss"])
def open_device(request: pytest.FixtureRequest, device: Start) -> tuple[Device, Server]:
    """The device without a password, plain and with TLS."""
    one = device(plain=request.param == "ws")
    called(one)
    return one, Server(one.signalling, None if request.param == "ws" else one.ca)


@pytest.mark.parametrize(("plugin", "element"), [("rswebrtc", "webrtcsink"), ("rswebrtc", "webrtcsrc"), ("rsrtp", "rtpgccbwe")])
def test_gst_inspect_shows_the_elements_from_the_built_files(plugin: str, element: str) -> None:
    shown = subprocess.run(
        ["gst-inspect-1.0", element], env={"PATH": "/usr/bin:/bin", "GST_PLUGIN_PATH": str(PLUGINS), "GST_REGISTRY_FORK": "no"},
        capture_output=True, text=True, timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert str(PLUGINS / f"libgst{plugin}.so") in shown.stdout


def test_stock_to_stock_video_only(stock_server: Server, launch: Run) -> None:
    words = signaller(stock_server.uri, ca=stock_server.ca)
    # The shortest recipe: raw video, webrtcsink encodes.
    launch(f"videotestsrc is-live=true ! video/x-raw,width=320,height=240 ! webrtcsink {words}")
    stock_server.registered()
    launch(source(words, deaf=True)).wait_for_frames(20)


def test_stock_to_stock_audio_and_video(stock_server: Server, launch: Run, tmp_path: Path) -> None:
    words = signaller(stock_server.uri, ca=stock_server.ca)
    launch(sink(words, tone=1000))
    stock_server.registered()
    receiver = launch(source(words, wav=tmp_path / "heard.wav", async_=True))
    receiver.wait_for_frames(20)
    wait_for_tone(tmp_path / "heard.wav", 1000, least=0.2)


def test_stock_consumer_gets_the_devices_picture_and_tone(open_device: tuple[Device, Server], launch: Run, tmp_path: Path) -> None:
    _, server = open_device
    gray, wav = tmp_path / "picture.gray", tmp_path / "heard.wav"
    receiver = launch(source(signaller(server.uri, ca=server.ca), gray=gray, wav=wav))
    receiver.wait_for_frames(40)
    wait_for_tone(wav, 440)
    seen = markers(gray, 640, 360)
    assert len(seen) > 30 and sorted(seen) == seen and seen[-1] - seen[0] >= 30, str(seen)


def test_stock_consumer_takes_only_the_picture(open_device: tuple[Device, Server], launch: Run) -> None:
    """The sound goes to a fakesink: an unlinked pad ends a stock webrtcsrc (not-linked), whoever the producer is."""
    _, server = open_device
    launch(source(signaller(server.uri, ca=server.ca))).wait_for_frames(30)


@pytest.mark.parametrize("turn", range(3))
def test_the_readmes_own_words(device: Start, launch: Run, tmp_path: Path, turn: int) -> None:
    """With sinks that preroll, as the recipe's own do: it plays once both have their first buffer, in whichever order."""
    one = called(device())
    wav = tmp_path / "heard.wav"
    (words,) = re.findall(r"^    gst-launch-1\.0 ((?:.*\\\n)*.*)\n", (TOP / "README.md").read_text(), re.MULTILINE)
    words = words.replace("\\\n", "")
    for mine, here in (
        ("wss://localhost:8443", one.signalling),
        ("$HOME/.local/state/duplex/pki/ca.pem", str(one.ca)),
        ("autovideosink", "identity name=seen silent=false ! fakesink sync=true"),
        ("autoaudiosink", f"audio/x-raw,format=S16LE,rate={RATE},channels=1 ! wavenc ! filesink buffer-mode=unbuffered location={wav}"),
    ):
        assert words.count(mine) == 1, (mine, words)
        words = words.replace(mine, here)
    receiver = launch(words)
    receiver.wait_for_frames(60, 20)
    wait_for_tone(wav, 440)
    assert receiver.process.poll() is None, receiver.tail()


def test_stock_producer_at_the_device_is_consumed_by_its_peer_id(open_device: tuple[Device, Server], launch: Run, tmp_path: Path) -> None:
    """Open mode: whoever is on this computer may produce, and is not taken for a talker."""
    one, server = open_device
    words = signaller(server.uri, ca=server.ca)
    launch(sink(words, tone=1000))
    with Peer(one) as watcher:
        mine = wait_for_another_producer(watcher, watcher.device_id())
    receiver = launch(source(signaller(server.uri, ca=server.ca, peer=mine), wav=tmp_path / "heard.wav"))
    receiver.wait_for_frames(20)
    wait_for_tone(tmp_path / "heard.wav", 1000, least=0.2)


def test_stock_producer_of_video_only_at_the_device(device: Start, launch: Run) -> None:
    one = device()
    launch(sink(signaller(one.signalling, ca=one.ca)))
    with Peer(one) as watcher:
        mine = wait_for_another_producer(watcher, watcher.device_id())
    launch(source(signaller(one.signalling, ca=one.ca, peer=mine), deaf=True)).wait_for_frames(20)


def called(one: Device) -> Device:
    """The device, once it is listed: stock consumers look for it only once, when they connect."""
    with Peer(one, origin=None) as watcher:
        watcher.device_id()
    return one


def wait_for_another_producer(watcher: Peer, device_id: str) -> str:
    def other() -> str | None:
        return next((str(one["id"]) for one in watcher.producers() if one["id"] != device_id), None)

    return wait_for("the stock producer is listed", other, 20, every=0.2)


def test_tokens_open_the_door_and_nothing_else_does(device: Start, launch: Run) -> None:
    one = called(device())
    set_password(one)
    for token in (None, "dpx_wrong", new_token(one, "watch") + "x"):
        refused = launch(source(signaller(one.signalling, ca=one.ca, token=token)))
        assert refused.end() != 0
        assert "401" in refused.tail(), refused.tail()
    one.wait_for_log("request refused.*notSignedIn")
    one.wait_for_log("request refused.*wrongToken")
    launch(source(signaller(one.signalling, ca=one.ca, token=new_token(one, "watch")))).wait_for_frames(20)


def test_who_trusts_another_ca_refuses_the_device(device: Start, launch: Run) -> None:
    """Without ``signaller::cafile`` the stock elements verify nothing; with it they trust that one CA."""
    one, other = device(), device()
    stranger = launch(source(signaller(one.signalling, ca=other.ca)))
    assert stranger.end() != 0 and stranger.frames() == 0
    assert "certificate" in stranger.log()


def test_a_stock_consumer_may_start_as_soon_as_the_service_says_ready(device: Start, launch: Run) -> None:
    """It looks for its first producer only once, when it connects: by then the device must be listed."""
    one = device()
    with Peer(one) as early:
        assert len(early.producers()) == 1


def test_a_producer_needs_its_token(device: Start, launch: Run) -> None:
    one = device()
    set_password(one)
    token = new_token(one, "watch")
    # A producer that may only watch is told so, and not listed.
    launch(sink(signaller(one.signalling, ca=one.ca, token=token)))
    one.wait_for_log("signalling message refused.*setPeerStatus")
    launch(sink(signaller(one.signalling, ca=one.ca, token=new_token(one, "produce")), tone=1000))
    with Peer(one, bearer(token)) as watcher:
        mine = wait_for_another_producer(watcher, watcher.device_id())
        assert len(watcher.producers()) == 2
    launch(source(signaller(one.signalling, ca=one.ca, token=token, peer=mine))).wait_for_frames(20)


def test_a_persons_talk_outlives_a_stock_consumer_of_it(device: Start, launch: Run, tmp_path: Path) -> None:
    """A machine hears the browser as well, also once there is a picture which nobody takes there, and leaves: the device still hears and sees it."""
    speaker, heard = tmp_path / "speaker.wav", tmp_path / "heard.wav"
    one = device("--sound", f"file:{speaker}", "--picture", "overlay")
    password = set_password(one)
    listener = new_token(one, "consume-peer")
    with Chromium(tmp_path / "home", one.ca, microphone=write_tone(tmp_path / "voice.wav", 1000)) as chromium:
        page = chromium.open(one.url)
        page.page.fill("#password", password)
        page.click("#sign-in")
        page.wait_data(state="live")
        page.start_talk()
        with Peer(one, bearer(listener)) as finder:
            talker = wait_for_another_producer(finder, "")
        machine = launch(source(signaller(one.signalling, ca=one.ca, token=listener, peer=talker), video=False, wav=heard))
        wait_for("the machine hears the talker", lambda: abs((strongest_hz(heard) or 0) - 1000) < 10)
        before = page.corner()
        page.click("#camera")
        wait_for("the camera in the corner", lambda: np.abs(page.corner() - before).max() > 40)
        written = heard.stat().st_size
        wait_for("three seconds more at the machine", lambda: heard.stat().st_size > written + 3 * 2 * RATE)
        assert abs((strongest_hz(heard) or 0) - 1000) < 10 and machine.process.poll() is None, machine.tail()
        seen = len(one.lines)
        machine.stop()
        one.wait_for_log("signalling peer left.*consume-peer", after=seen)
        page.click("#camera")
        wait_for("the corner without it", lambda: np.abs(page.corner() - before).max() < 40)
        page.click("#camera")
        wait_for("the camera again", lambda: np.abs(page.corner() - before).max() > 40)
        assert page.evaluate("document.getElementById('app').dataset.talk") == "talking"
        written = speaker.stat().st_size
        wait_for("two seconds more", lambda: speaker.stat().st_size > written + 2 * 96_000)
        assert abs((strongest_hz(speaker) or 0) - 1000) < 10


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_talkers_sound_reaches_the_device_and_a_stock_consumer_by_its_peer_id(device: Start, launch: Run, tmp_path: Path, scheme: str) -> None:
    """A stock webrtcsrc plays a talker's sound with a volume; the device takes the same talk into its own sink."""
    speaker, heard = tmp_path / "speaker.wav", tmp_path / "heard.wav"
    one = device("--sound", f"file:{speaker}", "--picture", "discard", plain=scheme == "ws")
    ca = one.ca if scheme == "wss" else None
    set_password(one)
    launch(sink(signaller(one.signalling, ca=ca, token=new_token(one, "talk")), video=False, tone=1000))
    listener = new_token(one, "consume-peer")
    with Peer(one, bearer(listener)) as finder:
        # consume-peer shows talkers, and not the device: that takes watch.
        talker = wait_for_another_producer(finder, "")
        assert len(finder.producers()) == 1
    launch(source(signaller(one.signalling, ca=ca, token=listener, peer=talker), video=False, wav=heard, volume=0.5))
    full = wait_for_tone(speaker, 1000, least=0.2)
    half = wait_for_tone(heard, 1000, least=0.1)
    assert 0.4 < half / full < 0.6, (half, full)


def test_who_may_only_watch_cannot_take_a_talkers_sound(device: Start, launch: Run, tmp_path: Path) -> None:
    one = device()
    set_password(one)
    launch(sink(signaller(one.signalling, ca=one.ca, token=new_token(one, "talk")), video=False, tone=1000))
    with Peer(one, bearer(new_token(one, "consume-peer"))) as finder:
        talker = wait_for_another_producer(finder, "")
    launch(source(signaller(one.signalling, ca=one.ca, token=new_token(one, "watch"), peer=talker), video=False, wav=tmp_path / "heard.wav"))
    one.wait_for_log("signalling message refused.*startSession.*no producer with this peer id")
    assert tone(samples(tmp_path / "heard.wav")[-RATE:])[1] == 0


@pytest.mark.parametrize("password", ["", "a secret"])
def test_simple_http_server_serves_the_page_with_the_exported_p12(
    simple_http_server: Path, program: Callable[..., Program], tmp_path: Path, password: str
) -> None:
    store, p12 = tmp_path / "pki", tmp_path / "server.p12"
    for step in (["init"], ["issue", "localhost"], ["export", "--p12", "--out", str(p12), "--password-file", "-"]):
        subprocess.run([DUPLEX, "pki", *step, "--dir", store], check=True, capture_output=True, input=password + "\n", text=True)
    words = [simple_http_server, "--ip", "127.0.0.1", "--port", "0", "-i", TOP / "web-app/dist", "--cert", p12]
    port = program(*words, *(["--certpass", password] if password else [])).port()
    trust = ssl.create_default_context(cafile=str(store / "ca.pem"))
    with urllib.request.urlopen(f"https://localhost:{port}/", context=trust, timeout=10) as answer:
        assert answer.status == 200 and b"<title>" in answer.read()
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://localhost:{port}/", timeout=10)
