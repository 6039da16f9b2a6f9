"""A WHIP server (RFC 9725) on aiortc: an implementation of WebRTC that shares nothing with GStreamer's.

In: a certificate, a token, what it shall refuse. Out: a line for each thing that happened, on its standard output: what was asked, the
codecs agreed on, the numbers of the pictures that came, the tone that is heard. Never: a STUN server, media kept.

    whip.py --cert FILE --key FILE [--host 127.0.0.1] [--port N] [--token TEXT] [--refuse video]

It serves /door/whip, and at /door/elsewhere a redirect there.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import ssl

import numpy
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from stock import RATE, marker, tone


def say(*words: object) -> None:
    print(*words, flush=True)


class Server:
    """All resources, by number."""

    def __init__(self, token: str | None, refuse: str | None):
        self.token, self.refuse = token, refuse
        self.numbers = itertools.count(1)
        self.open: dict[str, RTCPeerConnection] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def turned_away(self, request: web.Request) -> web.Response | None:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            say("refused", request.method)
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return None

    async def post(self, request: web.Request) -> web.Response:
        if answer := self.turned_away(request):
            return answer
        offer = await request.text()
        if request.content_type != "application/sdp":
            return web.Response(status=415)
        number = str(next(self.numbers))
        for found in ("a=candidate:", "a=end-of-candidates", "a=sendonly", "a=setup:actpass", "a=group:BUNDLE"):
            say("offer", number, "has" if found in offer else "lacks", found)
        connection = self.open[number] = RTCPeerConnection(RTCConfiguration(iceServers=[]))

        @connection.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            task = asyncio.ensure_future(look(number, track) if track.kind == "video" else hear(number, track))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

        # aiortc as DTLS client takes ECDSA certificates alone, and GStreamer's are RSA: so it is the server, as an answer may choose.
        await connection.setRemoteDescription(RTCSessionDescription(offer.replace("a=setup:actpass", "a=setup:active"), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        text = connection.localDescription.sdp
        if self.refuse:
            text = text.replace(f"m={self.refuse} {text.split(f'm={self.refuse} ')[1].split()[0]} ", f"m={self.refuse} 0 ")
        for codec in sorted({line.split()[1].split("/")[0] for line in text.splitlines() if line.startswith("a=rtpmap:")} - {"rtx"}):
            say("codec", number, codec)
        say("granted", number)
        return web.Response(status=201, content_type="application/sdp", headers={"Location": f"resource/{number}"}, text=text)

    async def delete(self, request: web.Request) -> web.Response:
        if answer := self.turned_away(request):
            return answer
        connection = self.open.pop(request.match_info["number"], None)
        if connection is None:
            return web.Response(status=404)
        say("deleted", request.match_info["number"])
        await connection.close()
        return web.Response()


async def look(number: str, track: MediaStreamTrack) -> None:
    try:
        while True:
            frame = await track.recv()
            say("picture", number, f"{frame.width}x{frame.height}", marker(frame.to_ndarray(format="gray")))
    except MediaStreamError:
        say("no more pictures", number)


async def hear(number: str, track: MediaStreamTrack) -> None:
    """The strongest tone of each half second."""
    sound = numpy.zeros(0)
    try:
        while True:
            frame = await track.recv()
            channels = len(frame.layout.channels)
            sound = numpy.concatenate([sound, frame.to_ndarray().reshape(-1, channels).mean(axis=1) / 32768.0])
            if len(sound) >= RATE // 2:
                hertz, level = tone(sound)
                say("tone", number, f"{hertz:.1f}", f"{level:.4f}")
                sound = numpy.zeros(0)
    except MediaStreamError:
        pass


async def redirect(_: web.Request) -> web.Response:
    say("redirected")
    return web.Response(status=307, headers={"Location": "whip"})


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--cert", "--key", "--token", "--refuse"):
        parser.add_argument(name)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    words = parser.parse_args()
    server = Server(words.token, words.refuse)
    application = web.Application()
    application.router.add_post("/door/whip", server.post)
    application.router.add_post("/door/elsewhere", redirect)
    application.router.add_delete("/door/resource/{number}", server.delete)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(words.cert, words.key)
    web.run_app(application, host=words.host, port=words.port, ssl_context=context, print=None)


if __name__ == "__main__":
    main()
