"""What the page tells people: why there is no call, who is not heard, what a press does, who is who."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from browser import Chromium, ChromiumPage
from device import Device, wait_for

Start = Callable[..., Device]
#: Keeps every text that ever stood in the element, from now on.
KEEP = """(id) => {
  const element = document.getElementById(id), texts = (window.kept ??= {})[id] = [element.textContent];
  new MutationObserver(() => texts.push(element.textContent)).observe(element, { childList: true, characterData: true, subtree: true });
}"""


def keep(page: ChromiumPage, id: str) -> Callable[[], list[str]]:
    page.page.evaluate(KEEP, id)
    return lambda: list(page.evaluate(f"kept['{id}']"))


def test_a_page_without_a_place_says_why_and_comes_by_itself(device: Start, tmp_path: Path) -> None:
    one = device("--max-viewers", "1")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first = chromium.open(one.url)
        first.wait_data(state="live")
        second = chromium.open(one.url)
        second.wait_data(state="failed")
        wait_for("the reason", lambda: "as many viewers as it serves (1)" in second.state_line())
        first.page.context.close()
        second.wait_data(state="live")
        second.wait_frame()


def test_a_page_without_a_connection_says_why_and_comes_by_itself(device: Start, tmp_path: Path) -> None:
    one = device("--max-viewers", "1", "--max-peers", "1")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        first = chromium.open(one.url)
        first.wait_data(state="live")
        second = chromium.open(one.url)
        wait_for("the reason", lambda: "as many connections as it takes (1)" in second.state_line())
        first.page.context.close()
        second.wait_data(state="live")


def test_who_is_not_heard_and_only_while_somebody_talks(device: Start, tmp_path: Path) -> None:
    one = device("--sound", "speaker:none-of-this-name")
    with Chromium(tmp_path / "home", one.ca) as chromium:
        talker, other = chromium.open(one.url), chromium.open(one.url)
        for page in (talker, other):
            page.wait_data(state="live")
        talker.start_talk()
        wait_for("the talker's warning", lambda: "You are not heard:" in talker.state_line())
        wait_for("the other's warning", lambda: "The talker is not heard:" in other.state_line())
        talker.end_talk()
        other.wait_data(talk="idle")
        late = chromium.open(one.url)
        late.wait_data(state="live")
        for page in (talker, other, late):
            wait_for("no warning", lambda page=page: page.state_line() == "Live")
            assert page.evaluate("document.getElementById('state').dataset.warn") == "false"


def test_who_takes_over_does_not_wait(device: Start, tmp_path: Path) -> None:
    one = device()
    with Chromium(tmp_path / "home", one.ca) as chromium:
        owner, talker = chromium.open(one.url), chromium.open(one.url)
        for page in (owner, talker):
            page.wait_data(state="live")
        talker.start_talk()
        owner.wait_data(talk="busy")
        labels = keep(owner, "talk-label")
        owner.click("#take-over")
        owner.wait_data(talk="talking")
        assert "Starting" in labels() and "Waiting" not in labels(), labels()
