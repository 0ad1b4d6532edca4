"""The page in a real browser: stepping, scrubbing, keys, filters, causes; and no request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from moot.lab.cluster import Cluster
from moot.lab.diagram import page
from moot.lab.trace import TraceHeader
from moot.lab.tracer import Tracer
from tests.support.browser import Browser, installed, open_browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not installed(), reason="needs chromium and chromedriver"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six seconds of PBFT with a partition and a crash, as a file."""
    cluster = Cluster("pbft", 4, 7)
    names = tuple(node.name for node in cluster.nodes)
    header = TraceHeader(1, "a run to look at", "pbft", 7, names, "moot lab replay --seed 7")
    tracer = Tracer(header, cluster.world, cluster.network, cluster.nodes)
    cluster.start()
    cluster.load(400)
    cluster.run(1_500)
    cluster.network.partition(cluster.nodes[:1], cluster.nodes[1:])
    cluster.run(1_500)
    cluster.network.heal()
    cluster.nodes[2].crash()
    cluster.run(1_500)
    cluster.nodes[2].start()
    cluster.run(1_500)
    path: Path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(page(tracer.log.trace()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture
def browser(shared: Browser, address: str) -> Iterator[Browser]:
    shared.size(1280)
    shared.driver.get("about:blank")
    shared.requested()
    shared.complaints()
    shared.driver.get(address)
    yield shared
    assert shared.complaints() == []
    asked = {url for url in shared.requested() if not url.startswith("about:")}
    assert asked == {address}, "the page loads nothing but itself"


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()


def drawn(browser: Browser) -> str:
    return str(browser.js("return document.getElementById('picture').textContent"))


def row(browser: Browser) -> int:
    return int(browser.js("return Number(document.getElementById('scrub').value)"))


def last_row(browser: Browser) -> int:
    return int(browser.js("return Number(document.getElementById('scrub').max)"))


def test_it_draws_nodes_messages_and_the_moment(browser: Browser) -> None:
    assert browser.text("h1") == "a run to look at"
    assert browser.text("#replay") == "moot lab replay --seed 7"
    assert browser.js("return document.querySelectorAll('.node').length") == 4
    assert browser.js("return document.querySelectorAll('.msg').length") > 10
    assert "PrePrepare v0 h1" in drawn(browser)
    assert browser.text("#when").endswith(" s")


def test_keys_step_and_jump(browser: Browser) -> None:
    press(browser, Keys.HOME)
    assert row(browser) == 0
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert row(browser) == 1
    press(browser, "f")
    assert "final" in browser.text("#details")
    before = row(browser)
    press(browser, "f")
    assert row(browser) > before
    press(browser, Keys.SHIFT, "F", Keys.NULL)
    assert row(browser) == before
    press(browser, "x")
    assert "cut" in browser.text("#details")
    assert "n0 | n1 n2 n3" in browser.text("#details")
    press(browser, "x")
    assert "crash" in browser.text("#details")
    assert browser.js("return document.querySelectorAll('.node.down').length") == 1
    press(browser, Keys.END)
    assert row(browser) == last_row(browser) > 100
    assert browser.js("return document.querySelectorAll('.node.down').length") == 0


def test_the_slider_scrubs_and_what_lies_ahead_is_faint(browser: Browser) -> None:
    browser.js(
        "const scrub = document.getElementById('scrub'); scrub.value = arguments[0];"
        "scrub.dispatchEvent(new Event('input'));",
        last_row(browser) // 2,
    )
    assert row(browser) == last_row(browser) // 2
    assert browser.js("return document.querySelectorAll('.later').length") > 5
    top = browser.js(
        "const now = document.querySelector('.row-now').getBoundingClientRect();"
        "const stage = document.getElementById('scroll').getBoundingClientRect();"
        "return now.top >= stage.top && now.bottom <= stage.bottom"
    )
    assert top, "the moment is in view"


def test_causes_lead_back_and_filters_take_away(browser: Browser) -> None:
    press(browser, Keys.HOME, "f")
    at = row(browser)
    assert "because" in browser.text("#details")
    browser.js("document.querySelector('#details button').click()")
    assert row(browser) < at
    assert "gets Commit" in browser.text("#details")
    rows = last_row(browser)
    assert "Commit" in drawn(browser)
    browser.js("document.querySelector('[data-name=\"message:Commit\"]').click()")
    assert last_row(browser) < rows
    assert "Commit" not in drawn(browser)


def test_it_plays_and_stops_at_the_end(browser: Browser) -> None:
    browser.js("document.getElementById('speed').value = '60'")
    press(browser, Keys.END, Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_LEFT, " ")
    browser.wait("return document.getElementById('play').textContent.includes('Play')")
    assert row(browser) == last_row(browser)


@pytest.mark.parametrize("width", [400, 760, 1280])
def test_the_controls_stay_on_the_screen(browser: Browser, width: int) -> None:
    browser.size(width, 800)
    inside = browser.js(
        "return ['#play', '#scrub', '#speed', '#heads', 'aside'].filter((name) => {"
        "const box = document.querySelector(name).getBoundingClientRect();"
        "return box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.height < 5; })"
    )
    assert inside == []
    assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
