"""Time from navigation to the first picture and the first sound in Chromium, and from a tap for sound to the sound; with Duplex
also to the still of that moment which the page shows until the call's first picture is there.

In: the device's page, told which producer to watch. Out: milliseconds, one for each join. Never: the first join of a browser, which fills
its caches.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from bench_parts.processes import say
from bench_parts.run import BITRATE, DUPLEX, ENCODED, RAW, Run
from bench_parts.table import Section
from browser import Chromium

#: Between two joins, so that the one before has left, s.
BETWEEN = 0.7
#: A stock producer as it is delivered, with all of its codecs.
DELIVERED = "as delivered"
# Notes when the first frame was shown, when before it a still of the moment, and when the first sound came out of the decoder.
PROBE = """
window.bench = {};
document.addEventListener('DOMContentLoaded', () => {
  document.querySelector('#picture').requestVideoFrameCallback(() => { bench.frame = performance.now(); });
});
new PerformanceObserver((list) => { bench.still ??= list.getEntries()[0].renderTime; }).observe({ type: 'element', buffered: true });
const Stock = RTCPeerConnection;
window.RTCPeerConnection = class extends Stock { constructor(...a) { super(...a); this.addEventListener('track', (e) => {
  if (e.track.kind !== 'audio' || bench.context) return;
  bench.context = new AudioContext(); const analyser = bench.context.createAnalyser(); analyser.fftSize = 256;
  bench.context.createMediaStreamSource(new MediaStream([e.track])).connect(analyser);
  const samples = new Float32Array(256);
  const timer = setInterval(() => { analyser.getFloatTimeDomainData(samples);
    if (samples.some((s) => Math.abs(s) > 0.003)) { bench.sound = performance.now(); clearInterval(timer); } }, 4); }); } };
"""
# Has the page take another producer for the device. In the page itself: a detour of the request would count as the producer's time.
ANOTHER = """
const get = window.fetch;
window.fetch = async (what, how) => {
  const answer = await get(what, how);
  if (!new URL(what.url ?? what, location.href).pathname.endsWith('/api/v1/status')) return answer;
  return new Response(JSON.stringify({ ...await answer.json(), deviceId: producer }), answer);
};
"""
# Says when the page asks for a tap, and notes how long after it the first sound came out of the decoder. It is said in the console:
# to look at the page from outside counts as a tap for Chromium.
TAPPED = """
const tracks = [];
const Stock = RTCPeerConnection;
window.RTCPeerConnection = class extends Stock { constructor(...a) { super(...a); this.addEventListener('track', (e) => {
  if (e.track.kind === 'audio') tracks.push(e.track); }); } };
document.addEventListener('DOMContentLoaded', () => {
  const button = document.querySelector('#tap-for-sound');
  const timer = setInterval(() => { if (button.checkVisibility()) { console.log('bench: tap'); clearInterval(timer); } }, 10);
});
document.addEventListener('click', () => {
  const began = performance.now(), context = new AudioContext(), analyser = context.createAnalyser(); analyser.fftSize = 256;
  context.createMediaStreamSource(new MediaStream([tracks.at(-1)])).connect(analyser);
  const samples = new Float32Array(256), video = document.querySelector('#picture');
  const timer = setInterval(() => { analyser.getFloatTimeDomainData(samples);
    if (!video.muted && samples.some((s) => Math.abs(s) > 0.003)) { window.tapped = performance.now() - began; clearInterval(timer); } }, 2);
}, true);
"""

# Ends every call, as the owner; then the page offers to call again.
HANG_UP = """async () => {
  const { sessions } = await (await fetch('/api/v1/sessions')).json();
  await Promise.all(sessions.map(({ id }) => fetch('/api/v1/sessions/' + id, { method: 'DELETE' })));
}"""
# How long after the next click the call's first picture is on the screen; an ended track may still show a black one of two pixels.
CLICKED = """() => {
  delete window.clicked;
  const video = document.querySelector('#picture');
  document.addEventListener('click', () => {
    const began = performance.now();
    const shown = (now, { width }) => {
      if (width > 2) window.clicked = performance.now() - began; else video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }, { capture: true, once: true });
}"""


def opened(chromium: Chromium, producer: str | None, script: str) -> tuple[BrowserContext, Page]:
    """A page that is told to watch this producer; without one, the device."""
    context = chromium.context(ignore_https_errors=True)
    page = context.new_page()
    page.add_init_script(script)
    if producer:
        page.add_init_script(f"const producer = {json.dumps(producer)};" + ANOTHER)
        page.route("**/api/v1/events*", lambda route: route.abort())
    return context, page


def joins(chromium: Chromium, url: str, producer: str | None, count: int) -> dict[str, list[float]]:
    """Opens the page so often; milliseconds from navigation to first frame and first sound."""
    context, page = opened(chromium, producer, PROBE)
    frames, sounds, stills = [], [], []
    for number in range(count + 1):
        page.goto(url)
        page.wait_for_function("() => bench.frame && bench.sound", timeout=20_000)
        if number:
            frames.append(page.evaluate("() => bench.frame"))
            sounds.append(page.evaluate("() => bench.sound"))
            stills.append(page.evaluate("() => Math.min(bench.still ?? Infinity, bench.frame)"))
        page.goto("about:blank")
        time.sleep(BETWEEN)
    context.close()
    return {"frame": frames, "sound": sounds, "still": stills}


def taps(chromium: Chromium, url: str, count: int) -> list[float]:
    """Opens the page so often where sound needs a tap; milliseconds from the tap to the first sound."""
    found = []
    for number in range(count + 1):
        # In a context of its own: a tap lasts for the pages that follow.
        context, page = opened(chromium, None, TAPPED)
        with page.expect_console_message(lambda line: line.text == "bench: tap", timeout=20_000):
            page.goto(url)
        page.click("#tap-for-sound", timeout=20_000)
        page.wait_for_function("() => window.tapped", timeout=20_000)
        if number:
            found.append(page.evaluate("() => tapped"))
        context.close()
        time.sleep(BETWEEN)
    return found


def clicks(chromium: Chromium, run: Run, count: int, anew: bool) -> list[float]:
    """Calls so often again in a page that is open; milliseconds from the click to the call's first picture. ``anew``: with the service started anew."""
    found = []
    context, page = opened(chromium, None, "")
    page.goto(run.device.url)
    for number in range(count + 1):
        page.wait_for_function("() => document.querySelector('#app').dataset.state === 'live'", timeout=20_000)
        time.sleep(BETWEEN)
        page.evaluate(HANG_UP)
        page.wait_for_selector("#call-again", state="visible", timeout=20_000)
        if anew:
            run.device.restart()
            run.device.wait_for_log("the device can be called")
        time.sleep(BETWEEN)
        page.evaluate(CLICKED)
        page.click("#call-again")
        took = page.wait_for_function("() => window.clicked", timeout=20_000).json_value()
        if number or anew:
            found.append(took)
    context.close()
    return found


def measure(run: Run) -> None:
    """The part ``joins``."""
    count = 3 if run.quick else 10
    found: dict[str, dict[str, list[float]]] = {}
    url = run.device.url
    with tempfile.TemporaryDirectory() as folder:
        with Chromium(Path(folder) / "loud", None) as chromium:
            say(f"{DUPLEX}: {count} joins")
            found[DUPLEX] = joins(chromium, url, None, count)
            again, first = (3, 2) if run.quick else (20, 5)
            say(f"{DUPLEX}: {again} calls by a click, {first} with the service started anew")
            found[DUPLEX] |= {"click": clicks(chromium, run, again, False), "first": clicks(chromium, run, first, True)}
            kinds = [(RAW, [str(BITRATE)]), (ENCODED, [str(BITRATE), "encoded"]), *([] if run.quick else [(DELIVERED, [])])]
            for name, words in kinds:
                with run.stock(name, *words) as sender:
                    say(f"{name}: {count} joins")
                    found[name] = joins(chromium, url, sender.producer, count)
        with Chromium(Path(folder) / "silent", None, autoplay=False, flags=("--autoplay-policy=document-user-activation-required",)) as chromium:
            say(f"{DUPLEX}: {count} taps for sound")
            found[DUPLEX]["tap"] = taps(chromium, url, count)
    run.result["joins_ms"] = found


def rows(found: dict[str, Any]) -> Section:
    section = Section("Joins in Chromium")
    for what, name in (("frame", "navigation to first picture"), ("sound", "navigation to first sound")):
        for how, of in (("median", statistics.median), ("max", max)):
            section.add(f"{name}, {how}, ms", {who: of(figures[what]) for who, figures in found.items() if who != DELIVERED}, 0)
        if DELIVERED in found:
            both = {who: statistics.median(found[key][what]) for who, key in ((DUPLEX, DUPLEX), (RAW, DELIVERED))}
            section.add(f"{name}, median, ms; stock as delivered, with all of its codecs", both, 0)
    # Until the call's first picture the page shows one of this moment; without Duplex there is none, and the first is the call's.
    seen = {who: statistics.median(figures["still" if who == DUPLEX else "frame"]) for who, figures in found.items() if who != DELIVERED}
    section.add("navigation to the device in sight (Duplex: a still of the moment), median, ms", seen, 0)
    section.add("click to first picture, page open, median, ms", {DUPLEX: statistics.median(found[DUPLEX]["click"])}, 0)
    section.add("the same for the first viewer of the process, median, ms", {DUPLEX: statistics.median(found[DUPLEX]["first"])}, 0)
    section.add("tap for sound to first sound, median, ms", {DUPLEX: statistics.median(found[DUPLEX]["tap"])}, 0)
    return section
