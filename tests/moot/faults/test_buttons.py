"""The buttons on a devnet's consensus page, pressed in a real browser."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Browser, installed, open_browser
from tests.support.commands import Background

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not installed(), reason="no chromium and chromedriver here"),
]


@contextlib.contextmanager
def on_the_page(path: Path, *options: str) -> Iterator[Browser]:
    """On the first node's consensus page of a devnet."""
    directory = path / "net"
    # Two devnets that begin at once may both find the usual port free.
    words = ["devnet", "--dir", str(directory), "--rest-port", "0", *options]
    with (
        Background(words, path / "out.txt") as devnet,
        open_browser() as page,
    ):
        devnet.wait_for("moot fault kill leader")
        plan = json.loads((directory / "devnet.json").read_text())
        page.base = f"http://127.0.0.1:{plan['nodes'][0]['rest_port']}"
        page.open("/consensus")
        page.loaded()
        yield page
        devnet.end()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with on_the_page(tmp_path) as page:
        yield page


def press(page: Browser, key: str) -> None:
    page.wait('return document.querySelector(`.devtools [data-key="${arguments[0]}"]`)', key)
    page.js('document.querySelector(`.devtools [data-key="${arguments[0]}"]`).click()', key)


def test_what_is_pressed_is_done_and_shown(browser: Browser) -> None:
    browser.wait_text("Break it")
    browser.wait_text("this page’s node", ".devtools")
    browser.wait_text("Kill the leader", ".devtools")
    browser.js("document.querySelector('.devtools [data-key=\"kill node3\"]').focus()")
    press(browser, "kill node3")
    browser.wait_text("Killed node3.", ".devtools")
    # The button is another one now; the keyboard's place is kept.
    browser.wait("return document.activeElement.dataset.key === 'restart node3'")
    press(browser, "pause node2")
    browser.wait_text("Paused node2.", ".devtools")
    browser.wait_text("It does not move as it should")
    press(browser, "resume node2")
    browser.wait_text("Resumed node2.", ".devtools")
    press(browser, "restart node3")
    browser.wait_text("Started node3 again.", ".devtools")
    press(browser, "cut node1")
    browser.wait_text("cut from node2, node3, node4", ".devtools")
    press(browser, "heal ")
    browser.wait_text("Healed 3 links.", ".devtools")
    assert not browser.complaints()


def test_where_nobody_ever_leads_there_is_no_leader_to_kill(tmp_path: Path) -> None:
    with on_the_page(tmp_path, "--engine", "gossip", "--nodes", "2") as page:
        page.wait_text("Heal all links", ".devtools")
        assert "Kill the leader" not in page.text(".devtools")
