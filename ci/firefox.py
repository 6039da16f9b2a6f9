"""Debian's Firefox over WebDriver BiDi, by a client of a few lines.

In: a device's CA, imported into the NSS database of a fresh profile; clicks; JavaScript. Out: the same measurements as
in Chromium. Never: an accepted bad certificate (BiDi's ``acceptInsecureCerts`` stays off), a profile that outlives the test.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from browser import Page, home_of, trust
from device import wait_for

# A fake camera and microphone, allowed without asking; sound without a tap; media over loopback, for a device on the same machine.
PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.peerconnection.ice.loopback": True,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
    "app.update.disabledForTesting": True,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "extensions.update.enabled": False,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
}

# Without a sound card an AudioContext of Firefox never runs. So its own recorder takes 0.7 s of what the page
# receives, and an offline context, which needs no card, decodes that; the last 0.4 s come back as 16-bit samples.
RECORD = """(async () => {
  const recorder = new MediaRecorder(new MediaStream(document.querySelector("video#picture, #remote-streams video").srcObject.getAudioTracks()));
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise((resolve) => (recorder.onstop = resolve));
  recorder.start();
  setTimeout(() => recorder.stop(), 700);
  await stopped;
  const coded = await new Blob(parts).arrayBuffer();
  const decoded = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(coded);
  const samples = Int16Array.from(decoded.getChannelData(0).slice(-19200), (one) => 32767 * one);
  return btoa(String.fromCharCode(...new Uint8Array(samples.buffer)));
})()"""


class Firefox:
    """One Firefox without a window, in a fresh profile that trusts the given CA."""

    def __init__(self, folder: Path, ca: Path | None, preferences: dict[str, bool | int | str] | None = None):
        self._profile = folder / "profile"
        self._profile.mkdir(parents=True)
        if ca:
            trust(self._profile, ca)
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in {**PREFERENCES, **(preferences or {})}.items()]
        (self._profile / "user.js").write_text("\n".join(lines))
        self._home = folder
        self._lines: list[str] = []
        self._next = 0
        self._stack = ExitStack()

    def __enter__(self) -> Firefox:
        words = ["firefox-esr", "--headless", "--no-remote", "--profile", str(self._profile), "--remote-debugging-port", "0"]
        environment = {**os.environ, **home_of(self._home), "MOZ_HEADLESS_WIDTH": "1280", "MOZ_HEADLESS_HEIGHT": "900"}
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        threading.Thread(target=self._read, daemon=True).start()
        try:
            address = wait_for("Firefox's BiDi address", self._address, 40)
            self.socket: ClientConnection = self._stack.enter_context(connect(f"{address}/session", max_size=64 << 20))
            self.send("session.new", {"capabilities": {}})
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.send("browser.close", {})
        finally:
            self._end()

    def _end(self) -> None:
        self._stack.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self._lines.append(line)

    def _address(self) -> str | None:
        assert self.process.poll() is None, "Firefox ended: " + "".join(self._lines)
        return next((match[1] for line in self._lines if (match := re.search(r"WebDriver BiDi listening on (ws://\S+)", line))), None)

    def send(self, method: str, parameters: dict[str, Any], seconds: float = 40) -> dict[str, Any]:
        """One BiDi command and its result."""
        self._next += 1
        self.socket.send(json.dumps({"id": self._next, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=seconds))
            if answer.get("id") != self._next:
                continue  # an event, or the answer to something given up
            if answer["type"] == "error":
                raise AssertionError(f"{method}: {answer['error']}: {answer['message']}")
            return answer["result"]

    def open(self, url: str, width: int = 1280, height: int = 800) -> FirefoxPage:
        """The page in a tab of its own."""
        context = self.send("browsingContext.create", {"type": "tab"})["context"]
        self.send("browsingContext.setViewport", {"context": context, "viewport": {"width": width, "height": height}})
        page = FirefoxPage(self, context)
        page.goto(url)
        return page


class FirefoxPage(Page):
    """A tab of :class:`Firefox`."""

    def __init__(self, firefox: Firefox, context: str):
        self._firefox = firefox
        self._context = context

    def goto(self, url: str) -> None:
        self._firefox.send("browsingContext.navigate", {"context": self._context, "url": url, "wait": "interactive"})

    def reload(self) -> None:
        """As F5 would."""
        self._firefox.send("browsingContext.reload", {"context": self._context, "wait": "interactive"})

    def evaluate(self, expression: str) -> Any:
        # Sent as text, so that BiDi's own notation of values does not have to be read.
        wrapped = f"Promise.resolve({expression}).then((value) => JSON.stringify(value) ?? 'null')"
        result = self._firefox.send("script.evaluate", {
            "expression": wrapped, "target": {"context": self._context}, "awaitPromise": True, "userActivation": True,
        })
        if result["type"] == "exception":
            raise AssertionError(result["exceptionDetails"]["text"])
        return json.loads(result["result"]["value"])

    def sound(self) -> tuple[float, float]:
        samples = np.frombuffer(base64.b64decode(self.evaluate(RECORD)), "<i2").astype(float) / 32768
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        peak = int(spectrum[10:].argmax()) + 10
        return peak * 48_000 / len(samples), float(10 * np.log10(np.mean(samples**2) + 1e-20))

    def click(self, selector: str) -> None:
        box = f"document.querySelector({json.dumps(selector)})?.getBoundingClientRect().toJSON()"
        where = wait_for(f"{selector} on the screen", lambda: box_ if (box_ := self.evaluate(box)) and box_["width"] else None)
        point = {"x": round(where["x"] + where["width"] / 2), "y": round(where["y"] + where["height"] / 2)}
        press = [{"type": "pointerMove", **point}, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": press}
        self._firefox.send("input.performActions", {"context": self._context, "actions": [mouse]})

    def type(self, text: str) -> None:
        """Keys one after the other, as a person presses them; special ones by their code points in WebDriver."""
        presses = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._firefox.send("input.performActions", {"context": self._context, "actions": [{"type": "key", "id": "keys", "actions": presses}]})

    def screenshot(self, path: Path) -> None:
        """The page as it looks, PNG."""
        data = self._firefox.send("browsingContext.captureScreenshot", {"context": self._context})["data"]
        path.write_bytes(base64.b64decode(data))
