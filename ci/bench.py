"""Figures of Duplex beside a stock webrtcsink with raw and with encoded input: joins in Chromium, processor time and memory by viewers.

In: built programs, the real clip. Out: a table with ratios, ``ci/out/bench.json``. Never: a verdict on seconds of
another run; traffic beyond loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Iterator

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from websockets.sync.client import connect

from clip import fetch_clip
from device import TOP, Device, wait_for

EXAMPLES = TOP / "target/release/examples"
CHROMIUM = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
#: A browser that plays sound without a tap.
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"
#: How many watch.
VIEWERS = (0, 1, 4, 8)
#: kbit/s of the picture, Duplex's default.
BITRATE = 2000
# Notes when the first frame was shown and when the first sound came out of the decoder.
PROBE = """
window.bench = {};
document.addEventListener('DOMContentLoaded', () => document.querySelector('#picture')
  .requestVideoFrameCallback(() => { bench.frame = performance.now(); }));
const Stock = RTCPeerConnection;
window.RTCPeerConnection = class extends Stock { constructor(...a) { super(...a); this.addEventListener('track', (e) => {
  if (e.track.kind !== 'audio' || bench.context) return;
  bench.context = new AudioContext(); const analyser = bench.context.createAnalyser(); analyser.fftSize = 256;
  bench.context.createMediaStreamSource(new MediaStream([e.track])).connect(analyser);
  const samples = new Float32Array(256);
  const timer = setInterval(() => { analyser.getFloatTimeDomainData(samples);
    if (samples.some((s) => Math.abs(s) > 0.003)) { bench.sound = performance.now(); clearInterval(timer); } }, 4); }); } };
"""

# Notes how long after the tap for sound the first sound came out of the decoder.
TAPPED = """
const tracks = [];
const Stock = RTCPeerConnection;
window.RTCPeerConnection = class extends Stock { constructor(...a) { super(...a); this.addEventListener('track', (e) => {
  if (e.track.kind === 'audio') tracks.push(e.track); }); } };
document.addEventListener('click', () => {
  const began = performance.now(), context = new AudioContext(), analyser = context.createAnalyser(); analyser.fftSize = 256;
  context.createMediaStreamSource(new MediaStream([tracks.at(-1)])).connect(analyser);
  const samples = new Float32Array(256), video = document.querySelector('#picture');
  const timer = setInterval(() => { analyser.getFloatTimeDomainData(samples);
    if (!video.muted && samples.some((s) => Math.abs(s) > 0.003)) { window.tapped = performance.now() - began; clearInterval(timer); } }, 2);
}, true);
"""


def taps(browser: Browser, device: Device, producer: str | None, count: int) -> list[float]:
    """Opens the page so often where sound needs a tap; milliseconds from the tap to the first sound."""
    context, page = opened(browser, device, producer, TAPPED)
    found = []
    for number in range(count + 1):
        page.goto(device.url)
        page.click("#tap-for-sound", timeout=20_000)
        page.wait_for_function("() => window.tapped", timeout=20_000)
        if number:
            found.append(page.evaluate("() => tapped"))
        page.goto("about:blank")
        time.sleep(0.7)
    context.close()
    return found


def opened(browser: Browser, device: Device, producer: str | None, script: str) -> tuple[BrowserContext, Page]:
    """A page that is told to watch this producer; without one, the device."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(script)
    if producer:
        def answer(route: Any) -> None:
            reply = route.fetch()
            route.fulfill(response=reply, json={**reply.json(), "deviceId": producer})
        page.route("**/api/v1/status", answer)
        page.route("**/api/v1/events*", lambda route: route.abort())
    return context, page


def joins(browser: Browser, device: Device, producer: str | None, count: int) -> dict[str, list[float]]:
    """Opens the page so often; milliseconds from navigation to first frame and first sound."""
    context, page = opened(browser, device, producer, PROBE)
    frames, sounds = [], []
    for number in range(count + 1):
        page.goto(device.url)
        page.wait_for_function("() => bench.frame && bench.sound", timeout=20_000)
        if number:  # The first one fills the browser's caches.
            frames.append(page.evaluate("() => bench.frame"))
            sounds.append(page.evaluate("() => bench.sound"))
        page.goto("about:blank")
        time.sleep(0.7)
    context.close()
    return {"frame": frames, "sound": sounds}


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> float:
    """MB, proportional set size: what it shares with others counts by its share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells no proportional set size")


def load(pid: int, signalling: str, producer: str, viewers: int, seconds: int) -> dict[str, float]:
    """Processor time of a process in per cent of a core, and its memory in MB, with so many viewers that decode nothing."""
    if viewers == 0:
        time.sleep(8)  # Past the idle grace.
        before = cpu_of(pid)
        time.sleep(seconds)
        return {"cpu": (cpu_of(pid) - before) / seconds * 100, "memory": memory_of(pid)}
    clients = subprocess.Popen([str(EXAMPLES / "receivers"), signalling, producer, str(viewers), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert clients.stdout
    clients.stdout.readline()  # "counting"
    before, began = cpu_of(pid), time.monotonic()
    memory = memory_of(pid)
    report = json.loads(clients.stdout.readline())
    used = (cpu_of(pid) - before) / (time.monotonic() - began) * 100
    clients.wait(20)
    assert report["packets_per_second"] > 30, f"viewers received too little: {report}"
    return {"cpu": used, "memory": memory}


def producers(signalling: str) -> list[str]:
    """Peer ids of the producers that a viewer sees."""
    with connect(signalling) as socket:
        socket.send(json.dumps({"type": "list"}))
        for text in socket:
            message = json.loads(text)
            if message["type"] == "list":
                return [producer["id"] for producer in message["producers"]]
    return []


@contextlib.contextmanager
def stock(signalling: str, own: str, clip: Path, bitrate: int | None = None, encoded: bool = False) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A stock producer: as delivered, or with VP8 alone at a bit rate in kbit/s, or with the encoded stream as its input; with its peer id."""
    words = [str(EXAMPLES / "stock_sink"), signalling, str(clip), *([str(bitrate)] if bitrate else []), *(["encoded"] if encoded else [])]
    process = subprocess.Popen(words)
    try:
        wait_for("the stock producer", lambda: len(producers(signalling)) == 2, 30, 0.5)
        (other,) = set(producers(signalling)) - {own}
        yield process, other
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        wait_for("the stock producer is gone", lambda: producers(signalling) == [own], 10, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, seconds = (5, 6) if quick else (10, 12)
    clip = fetch_clip()
    result: dict[str, Any] = {"machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()}}
    with tempfile.TemporaryDirectory() as folder:
        source = ["--video", f"file:{clip}", "--audio", f"file:{clip}"]
        with Device(Path(folder), *source, picture_size="1280x720", plain=True) as device:
            signalling = device.signalling.replace("localhost", "127.0.0.1")
            assert device.process
            (own,) = producers(signalling)
            say("processor time of Duplex")
            ours = {str(n): load(device.process.pid, signalling, own, n, seconds) for n in VIEWERS}
            with stock(signalling, own, clip, BITRATE, encoded=True) as (process, other):
                say("processor time of stock webrtcsink with encoded input")
                encoded = {str(n): load(process.pid, signalling, other, n, seconds) for n in VIEWERS}
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*CHROMIUM, AUTOPLAY])
                silent = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
                with stock(signalling, own, clip, BITRATE) as (process, other):
                    say("processor time of stock webrtcsink, VP8 at the same bit rate")
                    theirs = {str(n): load(process.pid, signalling, other, n, seconds) for n in VIEWERS}
                    say("joins of stock webrtcsink, VP8 only")
                    vp8_joins = joins(browser, device, other, count) | {"tap": taps(silent, device, other, count)}
                with stock(signalling, own, clip) as (_, other):
                    say("joins of stock webrtcsink as delivered")
                    their_joins = joins(browser, device, other, count) | {"tap": taps(silent, device, other, count)}
                say("joins of Duplex")
                our_joins = joins(browser, device, None, count) | {"tap": taps(silent, device, None, count)}
                browser.close()
                silent.close()
    result |= {"load": {"duplex": ours, "stock": theirs, "stock, encoded input": encoded},
               "joins_ms": {"duplex": our_joins, "stock": their_joins, "stock, VP8 only": vp8_joins}}
    out = TOP / "ci/out/bench.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1))
    table(result)


def say(text: str) -> None:
    print(f"... {text}", flush=True)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def table(result: dict[str, Any]) -> None:
    rows = []
    for what, name in (("frame", "navigation to first frame"), ("sound", "navigation to first sound"), ("tap", "tap for sound to first sound")):
        ours = result["joins_ms"]["duplex"][what]
        for who, how in (("stock", ""), ("stock, VP8 only", ", VP8 only")):
            theirs = result["joins_ms"][who][what]
            rows.append((f"{name}{how}, median, ms", statistics.median(ours), statistics.median(theirs)))
            rows.append((f"{name}{how}, max, ms", max(ours), max(theirs)))
    load = result["load"]
    most = str(VIEWERS[-1])
    for who, how in (("stock", ""), ("stock, encoded input", ", encoded input")):
        rows += [(f"processor, {n} viewers{how}, % of a core", load["duplex"][str(n)]["cpu"], load[who][str(n)]["cpu"]) for n in VIEWERS]
        rows += [(f"memory, {n} viewers{how}, MB", load["duplex"][str(n)]["memory"], load[who][str(n)]["memory"]) for n in VIEWERS]
        for what, unit in (("cpu", "processor for each further viewer{}, % of a core"), ("memory", "memory for each further viewer{}, MB")):
            further = [(load[one][most][what] - load[one]["1"][what]) / (VIEWERS[-1] - 1) for one in ("duplex", who)]
            rows.append((unit.format(how), *further))
    print(f"\n{'':62} {'Duplex':>8} {'stock':>8} {'ratio':>6}")
    for name, ours, stock in rows:
        ratio = f"{ours / stock:6.2f}" if stock > 0.05 else "     -"
        print(f"{name:62} {ours:8.1f} {stock:8.1f} {ratio}")
    print(f"\n{result['machine']['cores']} cores, {result['machine']['processor']}; 720p30 of bigbuckbunny.mp4, VP8; "
          "stock: webrtcsink with raw input as delivered, or with VP8 as its only codec")


if __name__ == "__main__":
    main()
