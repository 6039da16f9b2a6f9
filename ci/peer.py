"""A signalling peer and an API caller written by hand: they can say what no decent client would.

In: a device, an identity (cookie or token), headers. Out: messages and answers as they came.
Never: the rules of the protocol; those are what the tests are about.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from contextlib import ExitStack
from typing import Any, Callable

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from device import Device

Message = dict[str, Any]


def tls(device: Device) -> ssl.SSLContext | None:
    """Trust in the device's own CA and in nothing else."""
    return ssl.create_default_context(cafile=str(device.ca)) if device.url.startswith("https") else None


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def open_socket(device: Device, headers: dict[str, str], origin: str | None, path: str) -> ClientConnection:
    """Connects. About one TLS connection in 500 of this client never sends its request (seen in the bytes that
    the kernel counted), so a silent one is tried again."""
    for attempt in range(3):
        try:
            return connect(
                f"{device.signalling}{path}", ssl=tls(device), additional_headers=headers, origin=origin,  # type: ignore[arg-type]
                open_timeout=4, close_timeout=1, max_size=None, compression=None,
            )
        except TimeoutError:
            if attempt == 2:
                raise
    raise AssertionError("unreachable")


class Peer:
    """One WebSocket to the signalling server; ``origin`` as a browser would send it."""

    def __init__(self, device: Device, headers: dict[str, str] | None = None, *, origin: str | None = None, path: str = "/signalling"):
        self.stack = ExitStack()
        self.socket: ClientConnection = self.stack.enter_context(open_socket(device, headers or {}, origin, path))
        self.seen: list[Message] = []
        self.id: str = self.expect("welcome")["peerId"]

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def next(self, seconds: float = 10.0) -> Message:
        message: Message = json.loads(self.socket.recv(timeout=seconds))
        self.seen.append(message)
        return message

    def expect(self, kind: str, test: Callable[[Message], bool] = lambda _: True, seconds: float = 10.0) -> Message:
        """The next message of a kind; others are passed over, an error that was not asked for fails."""
        deadline = time.monotonic() + seconds
        while True:
            message = self.next(max(0.01, deadline - time.monotonic()))
            if message["type"] == kind and test(message):
                return message
            assert message["type"] != "error", message

    def refused(self, **message: Any) -> str:
        """Sends what must be refused; the sentence of the refusal."""
        self.send(**message)
        while True:
            answer = self.next()
            if answer["type"] == "error":
                return str(answer["details"])
            assert answer["type"] in ("peerStatusChanged", "peer"), answer

    def silent(self, seconds: float = 0.5) -> None:
        """Fails if anything comes. Answers to what was sent before come before the answer to ``list``."""
        self.send(type="list")
        assert self.next(seconds + 5)["type"] == "list"

    def producers(self) -> list[Message]:
        self.send(type="list")
        found: list[Message] = self.expect("list")["producers"]
        return found

    def device_id(self) -> str:
        """The device's peer id, once it is registered."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            for producer in self.producers():
                if ((producer.get("meta") or {}).get("duplex") or {}).get("device"):
                    return str(producer["id"])
            time.sleep(0.1)
        raise AssertionError("the device is not listed")

    def watch(self, producer: str) -> tuple[str, str]:
        """Starts a session; its id and the producer's offer."""
        self.send(type="startSession", peerId=producer)
        session = self.expect("sessionStarted")["sessionId"]
        offer = self.expect("peer", lambda message: message["sessionId"] == session and "sdp" in message)
        return session, offer["sdp"]["sdp"]

    def closed(self, seconds: float = 15.0) -> tuple[int, str]:
        """Reads until the server closes; code and reason."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self.next(max(0.01, deadline - time.monotonic()))
        except ConnectionClosed as over:
            return (over.rcvd.code, over.rcvd.reason) if over.rcvd else (1006, "")
        raise AssertionError(f"not disconnected within {seconds} s")

    def close(self) -> None:
        self.stack.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call(device: Device, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None,
         host: str | None = None, port: int | None = None, plain: bool = False, raw: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    """One HTTP request, nothing followed, nothing added; status, headers (lower case), body. ``raw`` is a body that is no JSON."""
    context = None if plain else tls(device)
    address = ("localhost", port or device.port)
    line = http.client.HTTPSConnection(*address, timeout=15, context=context) if context else http.client.HTTPConnection(*address, timeout=15)
    try:
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        line.putheader("Host", host or f"localhost:{address[1]}")
        data = raw or (b"" if body is None else json.dumps(body).encode())
        if body is not None:
            line.putheader("Content-Type", "application/json")
        if data:
            line.putheader("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            line.putheader(name, value)
        line.endheaders(data or None)
        answer = line.getresponse()
        # An event stream has no end: its head is all that is asked for.
        stream = answer.headers.get_content_type() == "text/event-stream"
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, b"" if stream else answer.read()
    finally:
        line.close()


def code(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Status and the name of the error."""
    return answer[0], str(json.loads(answer[2])["error"]["code"])


def set_password(device: Device, role: str = "owner", password: str = "correct horse battery") -> str:
    done = device.command("passwd", "--role", role, text=password + "\n")
    assert done.returncode == 0, done.stderr
    return password


def new_token(device: Device, *scopes: str) -> str:
    name = "-".join(["t", *scopes]) + str(time.monotonic_ns())
    done = device.command("token", "new", name, "--may", ",".join(scopes))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sign_in(device: Device, password: str) -> dict[str, str]:
    """Signs in as a browser does; the headers of its next requests."""
    origin = device.url.rstrip("/")
    status, headers, body = call(device, "POST", "/api/v1/sign-in", {"password": password}, headers={"Origin": origin})
    assert status == 200, body
    return {"Cookie": headers["set-cookie"].split(";")[0], "Origin": origin}
