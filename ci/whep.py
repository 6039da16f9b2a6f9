"""A player by WHEP (draft-ietf-wish-whep) on aiortc, which shares nothing with the device's WebRTC.

In: the device's address, its CA, a token, what to take. Out: a line for each thing that happened, on its standard output, as ``whip.py`` says them; at
SIGINT it ends its session, and says what the device answered. Never: a STUN server, media kept.

    whep.py URL [--ca FILE] [--token TEXT] [--take video,audio]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
from urllib.parse import urljoin

import aiohttp
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from whip import hear, look, say


async def play(url: str, ca: str | None, token: str | None, kinds: list[str]) -> None:
    connection, tasks = RTCPeerConnection(RTCConfiguration(iceServers=[])), set()

    @connection.on("track")
    def on_track(track: MediaStreamTrack) -> None:
        tasks.add(asyncio.ensure_future(look("1", track) if track.kind == "video" else hear("1", track)))

    for kind in kinds:
        connection.addTransceiver(kind, direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    enough = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, enough.set)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    trust = ssl.create_default_context(cafile=ca) if ca else True
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=trust)) as http:
        async with http.post(url, data=connection.localDescription.sdp, headers={"Content-Type": "application/sdp"}) as answer:
            text, place = await answer.text(), answer.headers.get("Location", "")
            say("answered", answer.status, answer.content_type)
            if answer.status != 201:
                return say(text)
        await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
        await enough.wait()
        async with http.delete(urljoin(url, place)) as answer:
            say("ended", answer.status)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--ca")
    parser.add_argument("--token")
    parser.add_argument("--take", default="video,audio")
    words = parser.parse_args()
    asyncio.run(play(words.url, words.ca, words.token, words.take.split(",")))


if __name__ == "__main__":
    main()
