"""The controls of the page at many widths: none lies over another, and whatever is aimed at takes the click."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from browser import Chromium, ChromiumPage
from device import Device, wait_for

pytestmark = pytest.mark.beside

Start = Callable[..., Device]
SIZES = [(360, 740), (412, 915), (740, 360), (800, 600), (960, 700), (1000, 700), (1024, 768), (1100, 800), (1199, 800), (1200, 800), (1280, 800),
         (1300, 800), (1366, 768), (1440, 900), (1920, 1080)]
#: Names of controls whose middle or corner belongs to something else, and of those that stand outside the window.
COVERED = """(() => {
  const wrong = [];
  const shown = [...document.querySelectorAll('#bar button, #bar input')].filter((one) => !one.closest('#settings') && one.checkVisibility());
  for (const one of shown) {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    if (left < 0 || top < 0 || right > innerWidth + 0.5 || bottom > innerHeight + 0.5) wrong.push(`${one.id} outside`);
    for (const [x, y] of [[0.5, 0.5], [0.15, 0.5], [0.85, 0.5]]) {
      const hit = document.elementFromPoint(left + (right - left) * x, top + (bottom - top) * y);
      if (!one.contains(hit)) wrong.push(`${one.id} under ${hit?.id || hit?.tagName}`);
    }
    for (const other of shown) {
      const box = other.getBoundingClientRect();
      const wide = Math.min(right, box.right) - Math.max(left, box.left), high = Math.min(bottom, box.bottom) - Math.max(top, box.top);
      if (one !== other && wide > 0.5 && high > 0.5) wrong.push(`${one.id} over ${other.id}`);
    }
  }
  return [shown.length, wrong];
})()"""


def covered(page: ChromiumPage) -> list[str]:
    count, wrong = page.evaluate(COVERED)
    assert count >= 6
    return list(wrong)


def at_every_size(page: ChromiumPage, what: Callable[[], Any]) -> dict[str, Any]:
    found = {}
    for width, height in SIZES:
        page.page.set_viewport_size({"width": width, "height": height})
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found[f"{width}x{height}"] = what()
    return found


@pytest.mark.parametrize("panel", [False, True], ids=["alone", "beside the panel"])
def test_no_control_lies_over_another(device: Start, tmp_path: Path, panel: bool) -> None:
    """With nobody talking, while somebody else talks, and while this page does."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.open(one.url), chromium.open(one.url)
        for each in (page, other):
            each.wait_data(state="live")
        if panel:
            page.click("#owner-toggle")
            page.wait("the panel", "document.getElementById('app').dataset.panel !== undefined")
        high = lambda: page.evaluate("innerWidth >= 1000 && document.getElementById('bar').clientHeight")  # noqa: E731
        bars = at_every_size(page, high)
        look = lambda: covered(page) if not panel or page.evaluate("innerWidth >= 1000") else []  # noqa: E731 - narrower, the panel lies over the call
        assert not (wrong := {size: names for size, names in at_every_size(page, look).items() if names}), wrong
        other.start_talk()
        page.wait_data(talk="busy")
        page.wait("take over", "document.getElementById('take-over').checkVisibility()")
        grown = {size: now - bars[size] for size, now in at_every_size(page, high).items()}
        assert panel or all(abs(by) <= 2 for by in grown.values()), f"picture and controls jump: {grown}"
        assert not (wrong := {size: names for size, names in at_every_size(page, look).items() if names}), wrong
        other.end_talk()
        page.wait_data(talk="idle")
        page.page.set_viewport_size({"width": 1280, "height": 800})
        page.start_talk()
        assert not (wrong := {size: names for size, names in at_every_size(page, look).items() if names}), wrong


def test_the_bar_beside_the_panel_is_one_row(device: Start, tmp_path: Path) -> None:
    """From 1200 pixels on; the state has room, also where the turn can be taken over; the volume moves into the settings and back."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.live(one.url), chromium.live(one.url)
        home = "document.getElementById('volume').parentElement.id"
        page.wait("the volume in the bar", f"{home} === 'volume-home'")
        page.click("#owner-toggle")
        page.wait("the volume in the settings", f"{home} === 'volume-away'")

        def rows() -> list[str]:
            return list(page.evaluate("""(() => {
              const box = (id) => document.getElementById(id).getBoundingClientRect(), wrong = [];
              const [about, talk, mute, bar] = ['about', 'talk', 'mute', 'bar'].map(box);
              if (Math.abs(talk.top + talk.bottom - mute.top - mute.bottom) > 60) wrong.push('Talk and tools in two rows');
              if (about.right > talk.left || about.width < 150) wrong.push(`no room for the state: ${about.width}`);
              if (bar.height > 140) wrong.push(`high: ${bar.height}`);
              return wrong;
            })()"""))

        wide = lambda: rows() if page.evaluate("innerWidth >= 1200") else []  # noqa: E731
        assert not (wrong := {size: names for size, names in at_every_size(page, wide).items() if names}), wrong
        other.start_talk()
        page.wait("take over", "document.getElementById('take-over').checkVisibility()")
        assert not (wrong := {size: names for size, names in at_every_size(page, wide).items() if names}), wrong
        page.page.set_viewport_size({"width": 1280, "height": 800})
        page.click("#owner-close")
        page.wait("the volume in the bar again", f"{home} === 'volume-home'")


def test_panel_and_settings_stand_beside_each_other_only_where_there_is_room(device: Start, tmp_path: Path) -> None:
    """By mouse and by key; what is opened keeps the focus, and Escape still closes it."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        shown = lambda: page.evaluate("['owner', 'settings'].filter((id) => document.getElementById(id)?.hidden === false)")  # noqa: E731
        focused = lambda: page.evaluate("document.activeElement.id")  # noqa: E731
        page.click("#owner-toggle")
        page.wait("the panel", "document.getElementById('app').dataset.panel !== undefined")
        page.click("#settings-toggle")
        assert shown() == ["settings"] and focused() == "", "the panel takes no focus back, and a press of the mouse leaves none"
        page.click("#owner-toggle")
        wait_for("the panel in its place", lambda: shown() == ["owner"] and focused() == "owner")
        for opener, opened in (("settings-toggle", "settings"), ("owner-toggle", "owner")):
            page.page.focus(f"#{opener}")
            page.page.keyboard.press("Enter")
            wait_for(f"only {opened}", lambda opened=opened: shown() == [opened])
        page.page.keyboard.press("Escape")
        assert shown() == [] and focused() == "owner-toggle"
        # Room for both, and no longer.
        page.page.set_viewport_size({"width": 1440, "height": 900})
        page.click("#owner-toggle")
        page.click("#settings-toggle")
        assert shown() == ["owner", "settings"]
        free = page.evaluate("document.getElementById('settings').getBoundingClientRect().left - document.getElementById('stage').clientWidth / 2")
        assert free > 110, "over the words in the middle"
        page.page.set_viewport_size({"width": 1280, "height": 800})
        wait_for("the panel alone", lambda: shown() == ["owner"])


def test_all_of_the_settings_can_be_reached(device: Start, tmp_path: Path) -> None:
    """The sheet stays in the window; what does not fit is scrolled to."""
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "bell.wav").write_bytes(b"only its name is shown")
    one = device("--clips", str(clips))
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page, other = chromium.open(one.url), chromium.open(one.url)
        other.start_talk()
        page.wait_data(state="live", talk="busy")
        page.click("#settings-toggle")
        page.wait("the clips", "document.getElementById('clip-row').checkVisibility()")

        def reached() -> list[str]:
            return list(page.evaluate("""(() => {
              const sheet = document.getElementById('settings'), wrong = [];
              const { top, bottom } = sheet.getBoundingClientRect();
              if (top < 0 || bottom > innerHeight) wrong.push('sheet outside');
              for (const one of [...sheet.querySelectorAll('select, input, button, a')].filter((one) => one.checkVisibility())) {
                one.scrollIntoView({ block: 'nearest' });
                const box = one.getBoundingClientRect();
                if (box.top < top - 1 || box.bottom > bottom + 1) wrong.push(one.id || one.textContent);
              }
              return wrong;
            })()"""))

        assert not (wrong := {size: names for size, names in at_every_size(page, reached).items() if names}), wrong


def test_on_a_phone_nothing_covers_the_self_view_and_the_hint_is_below_talk(device: Start, tmp_path: Path) -> None:
    one = device("--picture", "overlay")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url, viewport={"width": 844, "height": 390})
        page.click("#camera")
        page.click("#stats-toggle")
        page.wait("both", "['self', 'stats'].every((id) => document.getElementById(id).checkVisibility())")
        for sign in (False, True):
            if sign:
                page.click("#record")
                page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
            assert page.evaluate("""(() => {
              const [self, stats] = ['self', 'stats'].map((id) => document.getElementById(id).getBoundingClientRect());
              return self.left >= stats.right || self.top >= stats.bottom;
            })()""")
        page.page.set_viewport_size({"width": 390, "height": 844})
        off = page.evaluate("""(() => {
          const [hint, talk] = ['talk-hint', 'talk'].map((id) => document.getElementById(id).getBoundingClientRect());
          return hint.left + hint.right - talk.left - talk.right;
        })()""")
        assert abs(off) < 2, off


def test_keys_that_tooltips_name_and_two_taps_on_the_camera(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.open(one.url)
        page.wait_data(state="live", sound="on")
        page.page.keyboard.press("m")
        page.wait_data(sound="muted")
        page.page.keyboard.press("m")
        page.wait_data(sound="on")
        page.page.focus("#volume")
        page.page.keyboard.press("m")
        page.wait_data(sound="muted")
        page.page.keyboard.press("m")
        page.wait_data(sound="on")
        page.click("#settings-toggle")
        page.page.fill("#announce-text", "")
        page.page.keyboard.type("mmm")
        page.wait_data(sound="on")
        page.page.keyboard.press("Escape")
        page.page.keyboard.press("f")
        page.wait("full screen", "document.fullscreenElement !== null")
        page.page.keyboard.press("f")
        page.wait("the page again", "document.fullscreenElement === null")
        # Both taps before the camera can be open.
        page.evaluate("for (let taps = 0; taps < 2; taps++) document.getElementById('camera').click()")
        page.click("#mute")  # something to wait for that comes later
        page.wait_data(sound="muted")
        page.evaluate("navigator.mediaDevices.getUserMedia({ video: true }).then((stream) => stream.getTracks().forEach((track) => track.stop()))")
        assert page.evaluate("document.getElementById('camera').getAttribute('aria-pressed')") == "false"
        assert page.evaluate("document.getElementById('self').hidden")
        page.click("#camera")
        page.wait("the camera", "document.getElementById('camera').getAttribute('aria-pressed') === 'true'")


def test_the_tap_for_sound_leaves_a_card_readable(device: Start, tmp_path: Path) -> None:
    """All of the picture takes the tap; its words stand below the middle, where a card has its own."""
    one = device("--video", "camera:none-of-this-name")
    sizes = [(360, 740), (390, 844), (740, 360), (1280, 800)]
    with Chromium(tmp_path / "home", one.ca, autoplay=False) as chromium:
        for width, height in sizes:
            page = chromium.open(one.url, viewport={"width": width, "height": height})
            told = "[app.dataset.state, app.dataset.sound].join()"
            wait_for("a picture, and silence", lambda page=page: page.evaluate_without_gesture(told) == "live,blocked")
            free = page.evaluate("""(() => {
              const [stage, pill] = ['#stage', '#tap-for-sound .pill'].map((one) => document.querySelector(one).getBoundingClientRect());
              // The picture is 16 to 9; two lines of a card at the size of its letters.
              const high = Math.min(stage.height, stage.width * 9 / 16), words = stage.top + stage.height / 2 + high * 0.15;
              const hit = document.elementFromPoint(stage.left + 20, stage.top + stage.height / 3);
              return { above: pill.top - words, inside: stage.bottom - pill.bottom, aimed: hit?.id };
            })()""")
            assert free["above"] >= 0 and free["inside"] >= 0 and free["aimed"] == "tap-for-sound", (width, height, free)
            page.page.mouse.click(20, height / 5)
            page.wait_data(sound="on")
            page.page.context.close()


def test_figures_leave_the_middle_of_the_picture_free(device: Start, tmp_path: Path) -> None:
    """And can be read over any picture; alone, and beside the sign of a recording."""
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        page = chromium.live(one.url)
        page.click("#stats-toggle")
        page.wait("figures", "document.querySelector('[data-stat=bitrate]').textContent.includes('kbit')")

        def over() -> list[str]:
            return list(page.evaluate("""(() => {
              const [stage, figures, sign] = ['stage', 'stats', 'recording-sign'].map((id) => document.getElementById(id).getBoundingClientRect());
              const meets = (box, left, top, right, bottom) => box.left < right && box.right > left && box.top < bottom && box.bottom > top;
              const third = (from, length, part) => from + length * part / 3;
              const middle = [third(stage.left, stage.width, 1), third(stage.top, stage.height, 1), third(stage.left, stage.width, 2), third(stage.top, stage.height, 2)];
              const wrong = [];
              if (meets(figures, ...middle)) wrong.push('over the middle');
              if (meets(figures, sign.left, sign.top, sign.right, sign.bottom)) wrong.push('over the sign');
              if (figures.left < stage.left || figures.right > stage.right || figures.bottom > stage.bottom) wrong.push('outside');
              if (figures.width * figures.height > stage.width * stage.height / 6) wrong.push('large');
              const { backgroundColor, fontSize } = getComputedStyle(document.getElementById('stats'));
              if (!/^rgb\\(/.test(backgroundColor)) wrong.push(`the picture shines through ${backgroundColor}`);
              if (parseFloat(fontSize) < 12) wrong.push(`letters of ${fontSize}`);
              return wrong;
            })()"""))

        assert not (wrong := {size: names for size, names in at_every_size(page, over).items() if names}), wrong
        page.page.set_viewport_size({"width": 1280, "height": 800})
        page.click("#record")
        page.wait("the sign", "document.getElementById('recording').textContent === 'Recording'")
        assert not (wrong := {size: names for size, names in at_every_size(page, over).items() if names}), wrong
