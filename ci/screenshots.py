"""README's pictures of the page, made anew: after the program was built, `ci/.venv/bin/python ci/screenshots.py`.

In: the program, Chromium with its test camera, the clip. Out: web-app/screenshots/*.jpg, none larger than the one it replaces.
Never: a page that was touched up; a face of somebody.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from browser import Chromium, ChromiumPage, write_tone
from clip import fetch_clip
from device import TOP, Device, wait_for

OUT = TOP / "web-app/screenshots"
#: Of JPEG, per cent.
QUALITIES = range(92, 40, -4)


def keep(page: ChromiumPage, name: str) -> None:
    """In the best quality that is no larger than what is there."""
    file = OUT / f"{name}.jpg"
    most = file.stat().st_size if file.exists() else 1 << 20
    for quality in QUALITIES:
        picture = page.page.screenshot(type="jpeg", quality=quality)
        if len(picture) <= most:
            file.write_bytes(picture)
            print(f"{file.relative_to(TOP)}: {len(picture)} bytes, quality {quality}")
            return
    raise SystemExit(f"{name} is larger than it was in every quality")


def talks(stack: ExitStack, folder: Path, *flags: str, picture_size: str) -> ChromiumPage:
    """Somebody with a camera talks at a device that has recorded once."""
    folder.mkdir()
    sound = folder / "speaker.wav"
    one = stack.enter_context(Device(folder, "--name", "Front door", "--picture", "overlay", "--sound", f"file:{sound}", *flags, picture_size=picture_size))
    chromium = stack.enter_context(Chromium(folder / "home", one.ca, microphone=write_tone(folder / "voice.wav", 1000)))
    one.wait_for_log("the device can be called")
    for action in ("start", "stop"):
        assert one.command("record", action).returncode == 0
        time.sleep(2)
    page = chromium.live(one.url, color_scheme="dark")
    page.wait("the number of recordings", "document.getElementById('recordings-count').textContent === '1'")
    page.click("#camera")
    page.wait("the camera", "document.getElementById('camera').getAttribute('aria-pressed') === 'true'")
    page.start_talk()
    wait_for("the talker in the picture", lambda: (corner := page.corner())[1] > corner[0] + 60 and corner[1] > corner[2] + 60)
    page.evaluate("document.activeElement.blur()")
    page.page.mouse.move(640, 300)
    return page


def main() -> None:
    clip = fetch_clip()
    with tempfile.TemporaryDirectory() as name:
        with ExitStack() as stack:
            page = talks(stack, Path(name) / "clip", "--video", f"file:{clip}", "--audio", f"file:{clip}", picture_size="1280x720")
            time.sleep(3)
            keep(page, "call")
        with ExitStack() as stack:
            page = talks(stack, Path(name) / "test", picture_size="640x360")
            page.click("#owner-toggle")
            page.wait("the panel, with the delay", "document.getElementById('people')?.textContent.includes('delay')", 40)
            page.evaluate("document.activeElement.blur()")
            page.page.mouse.move(400, 300)
            keep(page, "panel")
            page.page.set_viewport_size({"width": 360, "height": 740})
            time.sleep(1)
            keep(page, "panel-phone")


if __name__ == "__main__":
    main()
