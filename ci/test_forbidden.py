"""Every forbidden act, attempted by hand over a raw WebSocket and the API: each is refused, and logged."""

from __future__ import annotations

import json
import re
from typing import Any, Callable

import pytest
from websockets.exceptions import InvalidStatus

from device import Device
from peer import Peer, bearer, call, code, new_token, set_password, sign_in

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
NOT_THERE = "there is no producer with this peer id"
NOT_YOURS = "you have no session with this id"


@pytest.fixture
def locked(device: Start) -> Device:
    """A device whose owner has set a password."""
    one = device()
    set_password(one)
    return one


def turned_away(device: Device, headers: dict[str, str] | None = None, origin: str | None = None, path: str = "/signalling") -> tuple[int, str]:
    """Status and error of a WebSocket handshake that must fail."""
    with pytest.raises(InvalidStatus) as refused:
        Peer(device, headers, origin=origin, path=path)
    answer = refused.value.response
    return answer.status_code, str(json.loads(answer.body or b"{}")["error"]["code"])


def site(device: Device) -> str:
    return device.url.rstrip("/")


@pytest.mark.parametrize("path", ["/", "/signalling"])
def test_nobody_gets_in_without_a_sign_in(locked: Device, path: str) -> None:
    assert turned_away(locked, path=path) == (401, "notSignedIn")
    assert turned_away(locked, origin=site(locked), path=path) == (401, "notSignedIn")
    assert turned_away(locked, bearer("dpx_wrong"), path=path) == (401, "wrongToken")
    assert turned_away(locked, {"Cookie": "__Host-duplex=forged"}, path=path) == (401, "notSignedIn")
    locked.wait_for_log("request refused.*notSignedIn")
    locked.wait_for_log("request refused.*wrongToken")


def test_the_api_tells_strangers_nothing(locked: Device) -> None:
    status, _, body = call(locked, "GET", "/api/v1/status")
    told = json.loads(body)
    assert status == 200 and told["access"]["role"] is None and told["deviceId"] is None and told["iceServers"] == []
    origin = {"Origin": site(locked)}
    assert code(call(locked, "GET", "/api/v1/events?peer=x")) == (401, "notSignedIn")
    for path, body_ in (("/api/v1/talk", {"peer": "x", "take": False}), ("/api/v1/talk/release", {"peer": "x"})):
        assert code(call(locked, "POST", path, body_, headers=origin)) == (401, "notSignedIn")
    assert code(call(locked, "POST", "/api/v1/setup", {"code": "000000", "password": "long enough it is"}, headers=origin)) == (409, "alreadySetUp")


def test_wrong_passwords_are_counted(locked: Device) -> None:
    tries = [code(call(locked, "POST", "/api/v1/sign-in", {"password": f"wrong {n}"}, headers={"Origin": site(locked)})) for n in range(6)]
    assert tries[:5] == [(401, "wrongPassword")] * 5 and tries[5] == (429, "tooManyAttempts")
    assert "wrong 0" not in locked.log()


@pytest.mark.parametrize("origin", ["https://evil.example", "https://localhost:1", "http://localhost:{port}", "null", "https://localhost.evil.example:{port}"])
def test_another_origin_is_refused_even_with_a_cookie(locked: Device, origin: str) -> None:
    origin = origin.format(port=locked.port)
    cookie = {"Cookie": sign_in(locked, "correct horse battery")["Cookie"]}
    assert turned_away(locked, cookie, origin=origin) == (403, "wrongOrigin")
    assert code(call(locked, "GET", "/api/v1/status", headers={**cookie, "Origin": origin})) == (403, "wrongOrigin")
    assert code(call(locked, "POST", "/api/v1/sign-out", {}, headers={**cookie, "Origin": origin})) == (403, "wrongOrigin")
    locked.wait_for_log("request refused.*wrongOrigin")


def test_another_host_is_refused_even_in_the_open_mode(device: Start) -> None:
    one = device()
    for host in ("evil.example", f"evil.example:{one.port}", f"192.0.2.1:{one.port}"):
        assert code(call(one, "GET", "/", host=host)) == (421, "wrongHost")
        assert code(call(one, "GET", "/api/v1/status", host=host, headers={"Origin": f"https://{host}"})) == (421, "wrongHost")
    assert call(one, "GET", "/", host=f"127.0.0.1:{one.port}")[0] == 200
    one.wait_for_log("request refused.*wrongHost")


def test_a_proxy_does_not_make_strangers_owners(device: Start) -> None:
    """Behind a proxy on this computer everybody comes from loopback."""
    one = device()
    assert turned_away(one, {"X-Forwarded-For": "198.51.100.7"}) == (401, "notSignedIn")
    assert json.loads(call(one, "GET", "/api/v1/status", headers={"Forwarded": "for=198.51.100.7"})[2])["access"]["role"] is None


def test_who_may_not_watch_sees_nothing_and_starts_nothing(locked: Device) -> None:
    with Peer(locked, bearer(new_token(locked, "watch"))) as watcher:
        device_id = watcher.device_id()
    for scope in ("talk", "produce", "consume-peer"):
        with Peer(locked, bearer(new_token(locked, scope))) as peer:
            assert peer.producers() == []
            assert NOT_THERE in peer.refused(type="startSession", peerId=device_id)
            assert code(call(locked, "GET", f"/api/v1/events?peer={peer.id}", headers=bearer(new_token(locked, scope))))[0] == 403
    locked.wait_for_log("signalling message refused.*startSession")


def test_who_may_only_watch_cannot_send_media(locked: Device) -> None:
    token = new_token(locked, "watch")
    with Peer(locked, bearer(token)) as peer:
        assert "may not send media" in peer.refused(type="setPeerStatus", roles=["producer"], meta=None)
        peer.send(type="setPeerStatus", roles=["listener"], meta=None)
        peer.expect("peerStatusChanged")
        for path, body in (("/api/v1/talk", {"peer": peer.id, "take": False}), ("/api/v1/talk/release", {"peer": peer.id})):
            assert code(call(locked, "POST", path, body, headers=bearer(token))) == (403, "notAllowed")
    locked.wait_for_log("signalling message refused.*setPeerStatus")


def status(meta: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "setPeerStatus", "roles": ["producer"], "meta": meta, **more}


def test_nobody_poses_as_the_device_or_as_another_peer(locked: Device) -> None:
    token = new_token(locked, "watch", "talk", "produce", "consume-peer")
    with Peer(locked, bearer(token)) as peer, Peer(locked, bearer(token)) as other:
        device_id = peer.device_id()
        for meta in ({"duplex": {"device": True}}, {"duplex": None}, {"name": "Duplex", "duplex": 1}):
            assert "device's alone" in peer.refused(**status(meta))
        for stolen in (device_id, other.id, ""):
            assert "must be your own id" in peer.refused(**status(peerId=stolen))
        assert "only the server" in peer.refused(type="newPeer")
        assert "device's alone" in peer.refused(type="setPeerStatus", roles=["consumer"], meta=None)
        assert "meta" in peer.refused(**status({"name": "x" * 4000}))
        assert "meta" in peer.refused(**status("text"))
        assert [one["id"] for one in other.producers()] == [device_id]
    for act in ("setPeerStatus", "newPeer"):
        locked.wait_for_log(f"signalling message refused.*act=\"?{act}")


def test_browsers_do_not_see_each_other(locked: Device) -> None:
    set_password(locked, "talker", "talkers may come in")
    mine = sign_in(locked, "talkers may come in")
    yours = sign_in(locked, "talkers may come in")
    with Peer(locked, mine) as one, Peer(locked, yours) as two:
        device_id = one.device_id()
        for peer in (one, two):
            peer.send(type="setPeerStatus", roles=["listener"], meta=None)
            peer.expect("peerStatusChanged")
        two.send(**{**status(), "roles": ["producer", "listener"]})
        two.expect("peerStatusChanged", lambda message: message.get("peerId") == two.id)
        assert [producer["id"] for producer in one.producers()] == [device_id]
        # The same words as for a peer that does not exist.
        sentence = one.refused(type="startSession", peerId=two.id)
        assert NOT_THERE in sentence and sentence == one.refused(type="startSession", peerId="nobody")
        one.send(type="listConsumers")
        assert one.expect("listConsumers")["consumers"] == []
        one.silent()
        assert not any(two.id in json.dumps(message) for message in one.seen), one.seen


def test_sessions_belong_to_their_members(locked: Device) -> None:
    token = new_token(locked, "watch", "talk", "produce", "consume-peer")
    with Peer(locked, bearer(token)) as mine, Peer(locked, bearer(token)) as stranger:
        session, _ = mine.watch(mine.device_id())
        attempts: list[dict[str, Any]] = [
            {"type": "endSession"},
            {"type": "peer", "sdp": {"type": "answer", "sdp": "v=0\r\n"}},
            {"type": "peer", "sdp": {"type": "offer", "sdp": "v=0\r\n"}},
            {"type": "peer", "ice": {"candidate": "candidate:1 1 UDP 1 192.0.2.1 9 typ host", "sdpMLineIndex": 0}},
        ]
        for attempt in attempts:
            assert NOT_YOURS in stranger.refused(sessionId=session, **attempt)
            assert NOT_YOURS in stranger.refused(sessionId="no such session", **attempt)
        assert "only the producer" in mine.refused(sessionId=session, **attempts[2])
        # It lives: its member may end it. Ends that cross on the way are no offence, but only to members.
        for _ in range(2):
            mine.send(type="endSession", sessionId=session)
        mine.send(type="list")
        while (message := mine.next())["type"] != "list":
            # What the device said of this session may have been on its way.
            assert message["type"] == "peer" and message["sessionId"] == session, message
        assert NOT_YOURS in stranger.refused(type="endSession", sessionId=session)
    locked.wait_for_log("signalling message refused.*endSession")


def test_the_api_takes_only_ones_own_peer(locked: Device) -> None:
    set_password(locked, "talker", "talkers may come in")
    mine, yours = sign_in(locked, "talkers may come in"), sign_in(locked, "talkers may come in")
    with Peer(locked, mine) as one, Peer(locked, yours) as two:
        for peer in (two.id, one.device_id(), "nobody", "", "../x"):
            assert code(call(locked, "POST", "/api/v1/talk", {"peer": peer, "take": False}, headers=mine)) == (404, "unknownPeer")
            assert code(call(locked, "POST", "/api/v1/talk/release", {"peer": peer}, headers=mine)) == (404, "unknownPeer")
            assert code(call(locked, "GET", f"/api/v1/events?peer={peer}", headers=mine)) == (404, "unknownPeer")
        assert call(locked, "GET", f"/api/v1/events?peer={one.id}", headers=mine)[0] == 200
        # Only an owner may end another's turn.
        assert code(call(locked, "POST", "/api/v1/talk", {"peer": one.id, "take": True}, headers=mine)) == (403, "notOwner")
        assert json.loads(call(locked, "POST", "/api/v1/talk", {"peer": one.id, "take": False}, headers=mine)[2])["you"] == "talking"
        assert json.loads(call(locked, "POST", "/api/v1/talk", {"peer": two.id, "take": False}, headers=yours)[2])["you"] == "waiting"


def test_a_revoked_token_and_a_new_password_end_what_they_opened(locked: Device) -> None:
    made = locked.command("token", "new", "guest", "--may", "watch")
    cookie = sign_in(locked, "correct horse battery")
    with Peer(locked, bearer(made.stdout.strip())) as guest, Peer(locked, cookie) as owner:
        assert locked.command("token", "revoke", "guest").returncode == 0
        assert guest.closed()[0] == 1008
        assert owner.device_id()
        set_password(locked, password="another horse battery")
        assert owner.closed()[0] == 1008
    assert turned_away(locked, cookie)[0] == 401


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_secrets_are_in_no_log(device: Start, log_format: str) -> None:
    """Whoever comes in, and whoever is refused, leaves neither password nor token, cookie, candidate or SDP there; a log for
    machines is JSON in each of its lines."""
    one = device(log_format=log_format)
    set_password(one)
    token = new_token(one, "watch", "talk")
    cookie = sign_in(one, "correct horse battery")["Cookie"]
    with Peer(one, bearer(token)) as peer:
        session, offer = peer.watch(peer.device_id())
        assert NOT_YOURS in peer.refused(type="peer", sessionId="no such session", sdp={"type": "offer", "sdp": "v=0\r\na=x-secret:of-a-refused-offer\r\n"})
        peer.send(type="peer", sessionId=session, ice={"candidate": "candidate:1 1 UDP 1 192.0.2.77 9 typ host", "sdpMLineIndex": 0})
        # An answer that is none ends the session, and the log tells why.
        peer.send(type="peer", sessionId=session, sdp={"type": "answer", "sdp": "v=0\r\na=ice-pwd:of-the-peer-of-the-peer\r\n"})
        peer.expect("endSession")
    assert turned_away(one, bearer(token + "x")) == (401, "wrongToken")
    assert code(call(one, "POST", "/api/v1/sign-in", {"password": "almost correct horse"}, headers={"Origin": site(one)})) == (401, "wrongPassword")
    one.wait_for_log("signalling peer left")
    assert one.stop() == 0
    password = re.search(r"a=ice-pwd:(\S+)", offer)
    assert password
    secrets = [token, cookie.split("=", 1)[1], "correct horse", password[1], "of-the-peer", "of-a-refused-offer"]
    for secret in (*secrets, "a=ice-pwd", "a=fingerprint", "a=candidate", "192.0.2.77"):
        assert secret not in one.log(), secret
    if log_format == "json":
        assert one.errors
        for line in one.errors:
            told = json.loads(line)
            assert told["level"] in ("ERROR", "WARN", "INFO") and told["message"] and told["timestamp"].endswith("Z"), line
