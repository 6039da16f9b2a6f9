"""Limits of signalling, and hostile but well-formed messages: whoever breaks them is stopped, and nobody else notices."""

from __future__ import annotations

import re
import json
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from websockets.exceptions import ConnectionClosed

from device import Device, wait_for
from peer import Peer, bearer, call, new_token, set_password
from stock import Launch, signaller, source

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
CANDIDATE = "candidate:1 1 UDP 2122252543 127.0.0.1 9 typ host"


@pytest.fixture
def busy(device: Start, launch: Callable[[str], Launch]) -> Iterator[tuple[Device, Launch]]:
    """A device with a call that goes on before, during and after the test; it is the same process at the end."""
    one = device()
    with Peer(one) as first:
        first.device_id()
    onlooker = launch(source(signaller(one.signalling, ca=one.ca)))
    onlooker.wait_for_frames(5)
    yield one, onlooker
    onlooker.wait_for_frames(onlooker.frames() + 10)
    still_serves(one, launch)


def still_serves(one: Device, launch: Callable[[str], Launch]) -> None:
    """The same process, no panic, and a newcomer gets its picture."""
    launch(source(signaller(one.signalling, ca=one.ca))).wait_for_frames(5)
    assert one.process and one.process.poll() is None
    Path(f"/proc/{one.process.pid}/stat").read_text()
    for word in ("panicked", "PANIC", "the WebRTC element panic"):
        assert word not in one.log()


def test_a_flood_ends_the_flooder_only(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    with Peer(one) as flooder:
        for _ in range(2000):
            try:
                flooder.socket.send('{"type":"list"}')
            except ConnectionClosed:
                break
        code, reason = flooder.closed()
        assert code == 1008 and "too many messages" in reason, (code, reason)
    one.wait_for_log("signalling message refused.*flood")


@pytest.mark.parametrize("size", [65_537, 4_000_000])
def test_an_oversize_message_ends_its_sender_only(busy: tuple[Device, Launch], size: int) -> None:
    one, _ = busy
    with Peer(one) as sender:
        try:
            sender.socket.send(json.dumps({"type": "setPeerStatus", "roles": [], "meta": {"x": "y" * size}}))
        except ConnectionClosed:
            pass
        code, reason = sender.closed()
        # Bytes still on their way when the door closes reset the connection, and may take the reason with them.
        assert (code == 1008 and "65536" in reason) or code == 1006, (code, reason)
    one.wait_for_log("signalling message refused.*65536")


MALFORMED: list[str | bytes] = [
    b"\x00\x01", b'{"type":"list"}', "", "{", "null", "[]", '"list"', "1e999", '{"type":"noSuchThing"}', '{"type":"list"',
    '{"type":"startSession"}', '{"type":"startSession","peerId":7}', '{"type":"setPeerStatus","roles":["owner"]}', '{"type":"peer","sessionId":"x"}',
    '{"type":"peer","sessionId":"x","ice":{"candidate":"","sdpMLineIndex":-1}}', '{"type":"peer","sessionId":"x","ice":{"candidate":"","sdpMLineIndex":4294967296}}',
    '{"type":"endSession","sessionId":null}', "[" * 5000, '{"a":' * 5000, "\u202e\U0001f4a9\u0000",
]


def test_malformed_messages_are_dropped_and_counted_and_then_end_the_sender(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    assert len(MALFORMED) == 20
    with Peer(one) as sender:
        for message in MALFORMED[:-1]:
            sender.socket.send(message)
            answer = sender.next()
            assert answer["type"] == "error" and "not part of the signalling protocol" in answer["details"], (message, answer)
        assert len(sender.producers()) == 1
        sender.socket.send(MALFORMED[-1])
        code, reason = sender.closed()
        assert code == 1008 and "not part of the signalling protocol" in reason
    one.wait_for_log("signalling message refused.*malformed")


def test_more_sessions_than_allowed_are_refused(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    with Peer(one) as greedy:
        device_id = greedy.device_id()
        for _ in range(4):
            greedy.send(type="startSession", peerId=device_id)
            greedy.expect("sessionStarted")
        assert "too many sessions (4)" in greedy.refused(type="startSession", peerId=device_id)
    one.wait_for_log("signalling message refused.*too many sessions")


def test_more_viewers_and_more_peers_than_allowed_are_refused(device: Start, launch: Callable[[str], Launch]) -> None:
    one = device("--max-viewers", "1", "--max-peers", "3")
    with Peer(one) as first, Peer(one) as second:
        device_id = first.device_id()
        session, _ = first.watch(device_id)
        assert "too many viewers (1)" in second.refused(type="startSession", peerId=device_id)
        with Peer(one):
            with pytest.raises(ConnectionClosed) as full:
                Peer(one)
            assert full.value.rcvd and full.value.rcvd.code == 1013 and "too many peers (3)" in full.value.rcvd.reason
        first.send(type="endSession", sessionId=session)
        # The place is free as soon as the device has let go of the session.
        wait_for("a place", lambda: starts(second, device_id), every=0.05)
    one.wait_for_log("too many peers")
    still_serves(one, launch)


def starts(peer: Peer, device_id: str) -> bool:
    """Asks for a session; whether there was one to be had."""
    peer.send(type="startSession", peerId=device_id)
    while (told := peer.next())["type"] not in ("sessionStarted", "error"):
        pass
    assert told["type"] == "sessionStarted" or "too many viewers" in told["details"], told
    return bool(told["type"] == "sessionStarted")


def test_many_at_once_never_exceed_the_places(device: Start) -> None:
    """A burst of viewers, and then viewers who answer, leave and come again as fast as they can: what the device serves is
    never more than it shall, as it counts itself and as pages are told."""
    one = device("--max-viewers", "2", "--max-peers", "64")
    most, over = 0, threading.Event()

    def count() -> None:
        nonlocal most
        while not over.is_set():
            text = call(one, "GET", "/metrics")[2].decode()
            most = max(most, int(next(line.split()[1] for line in text.splitlines() if line.startswith("duplex_viewers "))))

    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(one)) for _ in range(24)]
        device_id = peers[0].device_id()
        counting = threading.Thread(target=count, daemon=True)
        counting.start()
        stack.callback(counting.join, 10)
        stack.callback(over.set)
        for peer in peers:
            peer.send(type="startSession", peerId=device_id)
        started = {}
        for peer in peers:
            while (told := peer.next())["type"] not in ("sessionStarted", "error"):
                pass
            if told["type"] == "sessionStarted":
                started[peer] = told["sessionId"]
        assert len(started) == 2
        # Ended before the device can have made them.
        for peer, session in started.items():
            peer.send(type="endSession", sessionId=session)
        # A session whose answer has come is kept for a while after its end.
        end = time.monotonic() + 8
        served = 0
        while time.monotonic() < end:
            time.sleep(0.04)  # below the limit on messages
            for peer in peers[:6]:
                if not starts(peer, device_id):
                    continue
                session = peer.seen[-1]["sessionId"]
                offer = peer.expect("peer", lambda told, session=session: told["sessionId"] == session and "sdp" in told)
                # Port 0 of what goes with another's would refuse it in an answer.
                answer = re.sub(r"(m=\w+) 0 ", r"\1 9 ", answer_to(offer["sdp"]["sdp"]))
                peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": answer})
                peer.send(type="endSession", sessionId=session)
                served += 1
    assert 1 <= most <= 2, f"{most} at once"
    assert served >= 4, "nobody was served"
    events = [line for line in one.lines if "viewer joins" in line or "viewer left" in line]
    here = 0
    for line in events:
        here += 1 if "viewer joins" in line else -1
        assert here <= 2, events


def test_too_many_ice_candidates_are_refused(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    with Peer(one) as peer:
        session, _ = peer.watch(peer.device_id())
        for count in range(256):
            peer.send(type="peer", sessionId=session, ice={"candidate": CANDIDATE, "sdpMLineIndex": 0})
            # Below the limit on messages.
            time.sleep(0.01 if count < 90 else 0.022)
        assert "too many ICE candidates (256)" in peer.refused(type="peer", sessionId=session, ice={"candidate": CANDIDATE, "sdpMLineIndex": 0})


def answer_to(offer: str) -> str:
    """A plausible answer: the offer's own lines with the roles turned round."""
    return offer.replace("a=setup:actpass", "a=setup:active").replace("a=sendonly", "a=recvonly").replace("a=sendrecv", "a=recvonly")


def with_parameters(offer: str, parameters: str) -> str:
    """A good answer with these format parameters for every payload type."""
    described = re.findall(r"a=rtpmap:(\d+) ", answer_to(offer))
    text = re.sub(r"a=fmtp:[^\r]*\r\n", "", answer_to(offer))
    for payload in described:
        text = re.sub(rf"(a=rtpmap:{payload} [^\r]*\r\n)", rf"\1a=fmtp:{payload} {parameters}\r\n", text)
    return text


HOSTILE_SDP: list[Callable[[str], str]] = [
    lambda _: "",
    lambda _: "garbage",
    lambda _: "v=0\r\n",
    lambda _: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n",
    lambda _: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
    lambda _: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:9\r\n",
    lambda offer: answer_to(offer) + "a=x:" + "y" * (60_000 - len(offer)) + "\r\n",
    lambda offer: answer_to(offer).replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 ZZ:"),
    lambda offer: answer_to(offer).replace("a=ice-ufrag:", "a=ice-nothing:").replace("a=ice-pwd:", "a=ice-none:"),
    lambda offer: answer_to(offer).replace("m=video", "m=audio"),
    lambda offer: answer_to(offer).replace("m=", "m=video 0 X 0\r\nm=", 1),
    lambda offer: answer_to(offer) + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:extra\r\na=rtpmap:96 VP8/90000\r\n" * 300,
    lambda offer: answer_to(offer).replace("a=rtpmap:", "a=rtpmap:9999999999"),
    lambda offer: answer_to(offer).replace("a=recvonly", "a=sendonly"),
    lambda offer: answer_to(offer).replace("\r\n", "\n\n"),
    lambda offer: answer_to(offer).replace("VP8", "\u202e\u0001'; DROP"),
    # Format parameters that gst-plugin-webrtc 0.15.4 takes for fields of its own and panics over.
    lambda offer: with_parameters(offer, "profile=1"),
    lambda offer: with_parameters(offer, "level=x"),
    lambda offer: with_parameters(offer, "profile-level-id=58001e"),
    lambda offer: with_parameters(offer, "a-mid=zz;extmap-1=x;ssrc=7"),
    lambda offer: with_parameters(offer, "encoding-name=H264;clock-rate=1;payload=300;media=x"),
    lambda offer: with_parameters(offer, "stereo=\u00e9;max-fs=%s" % ("9" * 500)),
]


@pytest.mark.parametrize("part", range(4))
def test_hostile_answers_hurt_nobody_else(busy: tuple[Device, Launch], part: int) -> None:
    one, _ = busy
    for spoil in HOSTILE_SDP[part::4]:
        with Peer(one) as peer:
            session, offer = peer.watch(peer.device_id())
            peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": spoil(offer)})
            # Twice, and with a candidate behind: neither may find things half done.
            peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": spoil(offer)})
            peer.send(type="peer", sessionId=session, ice={"candidate": CANDIDATE, "sdpMLineIndex": 0})
            peer.producers()
            assert_alive(one)


HOSTILE_ICE: list[tuple[str, int]] = [
    ("", 0), ("", 4294967295), ("candidate:", 0), ("nonsense", 0), ("\n\r\n", 0), ("candidate:1 1 UDP 1 127.0.0.1 9 typ host\r\na=evil:1", 0),
    ("candidate:1 1 UDP 1 \U0001f4a9 9 typ host", 0), ("candidate:1 1 UDP 1 host.invalid 9 typ host", 0),
    ("candidate:1 1 UDP 1 0f0e0d0c-0000-4000-8000-000000000000.local 9 typ host", 0), ("candidate:1 1 UDP 1 127.0.0.1 99999999 typ host", 0),
    ("candidate:1 1 UDP 1 127.0.0.1 -1 typ host", 0), ("candidate:" + "1" * 40_000 + " 1 UDP 1 127.0.0.1 9 typ host", 0),
    (CANDIDATE, 7), (CANDIDATE, 2147483647), (CANDIDATE, 2147483648), (CANDIDATE, 4294967295),
    ("candidate:1 256 TCP 1 127.0.0.1 9 typ relay raddr x rport y", 1), ("candidate:1 1 UDP 1 255.255.255.255 9 typ host", 0), ("\u0000", 0),
]


@pytest.mark.parametrize("when", ["before", "after"])
def test_hostile_candidates_hurt_nobody_else(busy: tuple[Device, Launch], when: str) -> None:
    one, _ = busy
    with Peer(one) as peer:
        session, offer = peer.watch(peer.device_id())
        if when == "after":
            peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": answer_to(offer)})
        for candidate, line in HOSTILE_ICE:
            peer.send(type="peer", sessionId=session, ice={"candidate": candidate, "sdpMLineIndex": line})
        if when == "before":
            peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": answer_to(offer)})
        peer.producers()
        assert_alive(one)


def assert_alive(one: Device) -> None:
    """A crash is told at once, with the message that caused it, not by the end of the test."""
    assert one.process and one.process.poll() is None, one.log()[-2000:]


def test_an_answer_and_then_the_end(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    with Peer(one) as peer:
        device_id = peer.device_id()
        for _ in range(5):
            session, offer = peer.watch(device_id)
            peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": answer_to(offer)})
            peer.send(type="endSession", sessionId=session)
        # The end before the offer came, too.
        peer.send(type="startSession", peerId=device_id)
        peer.send(type="endSession", sessionId=peer.expect("sessionStarted")["sessionId"])
        peer.producers()


def test_viewers_that_answer_and_leave_at_once(busy: tuple[Device, Launch]) -> None:
    """The end of a session meets the handling of its answer; the next viewer must still get an offer."""
    one, _ = busy
    for turn in range(40):
        with Peer(one) as peer:
            session, offer = peer.watch(peer.device_id())
            spoil = (HOSTILE_SDP[4], HOSTILE_SDP[8], answer_to)[turn % 3]
            for _ in range(2):
                peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": spoil(offer)})
            peer.send(type="peer", sessionId=session, ice={"candidate": CANDIDATE, "sdpMLineIndex": 0})
            peer.producers()


def test_four_sessions_and_gone(busy: tuple[Device, Launch]) -> None:
    one, _ = busy
    for _ in range(3):
        with Peer(one) as peer:
            device_id = peer.device_id()
            for _ in range(4):
                peer.send(type="startSession", peerId=device_id)
                peer.expect("sessionStarted")
            # No goodbye: the connection is cut.
            peer.socket.socket.close()
    one.wait_for_log("signalling peer left")


def held(one: Device) -> tuple[int, int]:
    """Threads and descriptors of the service."""
    assert one.process
    proc = Path(f"/proc/{one.process.pid}")
    return len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir()))


def test_sessions_that_end_before_they_are_made_leave_nothing(device: Start) -> None:
    one = device("--max-peers", "64")

    def sessions(peers: int) -> None:
        for _ in range(peers):
            with Peer(one) as peer:
                device_id = peer.device_id()
                for _ in range(4):
                    peer.send(type="startSession", peerId=device_id)
                    peer.send(type="endSession", sessionId=peer.expect("sessionStarted")["sessionId"])
                peer.producers()

    threads, descriptors = held(one)
    sessions(20)
    # Each of the eighty left a thread and three descriptors; idle threads of the runtime go after ten seconds.
    wait_for("the device as before", lambda: (now := held(one))[0] < threads + 10 and now[1] < descriptors + 10, 40, every=0.5)


def test_a_viewer_that_never_answers_is_dropped_and_told(device: Start) -> None:
    one = device("--negotiation-timeout", "2")
    with Peer(one) as peer:
        session, _ = peer.watch(peer.device_id())
        assert peer.expect("endSession", seconds=8)["sessionId"] == session
    one.wait_for_log("no media connection to this viewer")


def test_hostile_offers_from_a_viewer_and_from_a_talker(device: Start, launch: Callable[[str], Launch]) -> None:
    """A viewer's own offer goes to the device's sender; a talker's offers go to its webrtcsrc."""
    one = device()
    set_password(one)
    with Peer(one, bearer(new_token(one, "watch"))) as peer:
        device_id = peer.device_id()
        for offer in ("", "garbage", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"):
            peer.send(type="startSession", peerId=device_id, offer=offer)
            session = peer.expect("sessionStarted")["sessionId"]
            assert peer.expect("endSession")["sessionId"] == session
            assert_alive(one)
    for sdp in ("", "garbage", "v=0\r\n", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"):
        for kind in ("offer", "answer"):
            with Peer(one, bearer(new_token(one, "talk"))) as talker:
                talker.send(type="setPeerStatus", roles=["producer"], meta=None)
                session = talker.expect("startSession")["sessionId"]
                talker.send(type="peer", sessionId=session, sdp={"type": kind, "sdp": sdp})
                talker.send(type="peer", sessionId=session, ice={"candidate": "", "sdpMLineIndex": 4294967295})
                drain(talker)
                assert_alive(one)
    launch(source(signaller(one.signalling, ca=one.ca, token=new_token(one, "watch")))).wait_for_frames(5)
    assert "panic" not in one.log()


def drain(peer: Peer) -> list[dict[str, Any]]:
    """Everything up to the answer to a list."""
    peer.send(type="list")
    seen = []
    while (message := peer.next())["type"] != "list":
        seen.append(message)
    return seen
