"""The pages in a real browser over a real network of four processes."""

from __future__ import annotations

import pytest

from tests.moot.explorer.conftest import Network
from tests.support.browser import Browser, host_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PHONE = 360
HURT = "window.hurt = (window.hurt || 0) + 1"
MARK = "window.mark = 'not loaded again'"
MARKED = "return window.mark === 'not loaded again'"


def block_of(browser: Browser, txid: str) -> str:
    script = (
        "const done = arguments[1];"
        "fetch('/moot/tx/' + arguments[0]).then((r) => r.json()).then((tx) => done(tx.block))"
    )
    found = browser.driver.execute_async_script(script, txid)
    assert isinstance(found, str)
    return found


# --------------------------------------------------------------------------------- by themselves


def test_a_transfer_shows_on_the_open_chain_page_and_becomes_final_there(
    browser: Browser, network: Network
) -> None:
    browser.open("/")
    browser.loaded()
    browser.js(MARK)
    txid = network.send(123_456_789)
    row = f'[data-txid="{txid}"]'
    browser.wait_text("1.23456789", row)
    browser.wait(f"return document.querySelector('{row} [data-state=final]')")
    height = browser.js("return Number(document.querySelector('.knot').dataset.height)")
    assert height >= 1
    assert browser.js(MARKED)
    assert browser.text("#link") == "live"
    assert not browser.complaints()


def test_a_transaction_goes_from_waiting_to_final_by_itself(
    browser: Browser, network: Network
) -> None:
    network.pause_two()
    try:
        txid = network.send(200_000_000)
        browser.open(f"/tx/{txid}")
        browser.wait("return document.querySelector('h1 [data-state=pending]')")
        browser.wait_text("for a block", ".timeline")
        browser.js(MARK)
    finally:
        network.resume_two()
    browser.wait("return document.querySelector('h1 [data-state=final]')")
    browser.wait_text("it stays as it is", ".timeline")
    assert browser.js(MARKED)
    assert f"/moot/tx/{txid}/proof" in browser.js(
        "return document.querySelector('a[download]').getAttribute('href')"
    )
    assert "2 coins" in browser.text(".balance")


def test_what_fails_says_why(browser: Browser, network: Network) -> None:
    txid = network.send(0)
    network.final(txid)
    browser.open(f"/tx/{txid}")
    browser.wait("return document.querySelector('h1 [data-state=failed]')")
    browser.wait_text("a transfer of nothing", ".action")


def test_a_transaction_that_the_node_drops_says_so(browser: Browser, network: Network) -> None:
    txid = network.send(sender=4, gap=2, blocks=2)
    browser.open(f"/tx/{txid}")
    browser.wait("return document.querySelector('h1 [data-state=pending]')")
    assert "after height" in browser.text()
    for _ in range(3):
        network.final(network.send())
    browser.wait("return document.querySelector('h1 [data-state=dropped]')")
    browser.wait_text("this node dropped it: expired", ".timeline")


def test_the_chain_page_says_when_nothing_moves_and_the_consensus_page_who_is_missing(
    browser: Browser, network: Network
) -> None:
    network.pause_two()
    try:
        txid = network.send()
        browser.open("/")
        browser.wait("return document.querySelector('.headline .warning')")
        browser.open("/consensus")
        browser.wait("return document.querySelector('.why.trouble')")
        assert browser.text(".why li")
        assert browser.js("return document.querySelectorAll('.member').length") == 4
    finally:
        network.resume_two()
    browser.wait("return document.querySelector('.why:not(.trouble)')")
    browser.wait_text("committed", ".log-lines")
    network.final(txid)


def test_an_engines_table_takes_no_part_of_the_page_away(browser: Browser) -> None:
    """Whatever the engine calls it: parts of one page are told apart by their keys."""
    browser.open("/consensus")
    browser.loaded()
    keys = browser.js(
        "return [...document.querySelectorAll('main > .part')].map(p => p.dataset.key)"
    )
    assert "Members" in keys and len(set(keys)) == len(keys)
    assert (
        browser.module("pages/consensus.js", "m.engineTable('members', []).dataset.key") not in keys
    )


def test_a_long_figure_stays_on_its_line(browser: Browser) -> None:
    """Under authority the round is a slot of the wall clock: ten digits."""
    browser.size(1300)
    browser.open("/consensus")
    browser.loaded()
    heights = browser.js(
        "const all = [...document.querySelectorAll('.figure dd')];"
        "all[1].textContent = '3,590,899,082';"
        "return all.map((dd) => dd.offsetHeight)"
    )
    assert len(set(heights)) == 1, heights


def test_the_log_of_the_engine_can_be_held(browser: Browser, network: Network) -> None:
    browser.open("/consensus")
    browser.loaded()
    browser.wait("return document.querySelector('#link').dataset.state === 'live'")
    network.final(network.send())
    browser.wait_text("committed", ".log-lines")
    browser.js("document.querySelector('.log-head button').click()")
    held = browser.text(".log-lines")
    network.final(network.send())
    browser.wait_text("more since", ".log-head")
    assert browser.text(".log-lines") == held
    browser.js("document.querySelector('.log-head button').click()")
    network.final(network.send())
    browser.wait("return document.querySelector('.log-lines').innerText !== arguments[0]", held)


def test_a_page_survives_its_node(browser: Browser, network: Network) -> None:
    network.final(network.send())
    browser.open("/")
    browser.loaded()
    browser.js(MARK)
    network.run(network.nodes.kill(0))
    try:
        browser.wait("return !document.querySelector('#offline').hidden")
        assert "does not answer" in browser.text("#offline")
        assert browser.js("return document.querySelectorAll('.knot').length") > 0
    finally:
        network.run(network.nodes.restart(0))
    browser.wait("return document.querySelector('#offline').hidden")
    browser.wait("return document.querySelector('#link').dataset.state === 'live'")
    txid = network.send(77_000_000)
    browser.wait_text("0.77", f'[data-txid="{txid}"]')
    assert browser.js(MARKED)
    network.final(txid)


def test_the_faucet_gives(browser: Browser, network: Network) -> None:
    address = network.address(11)
    browser.open(f"/address/{address}")
    browser.wait_text("0 coins", "#balance")
    browser.js("document.querySelector('.faucet button').click()")
    browser.wait_text("on their way", ".faucet .answer")
    browser.wait("return !document.querySelector('#balance').innerText.startsWith('0 ')")
    browser.wait("return document.querySelector('.move [data-state=final]')")


# ---------------------------------------------------------------------------------------- search


def search(browser: Browser, words: str) -> None:
    browser.open("/")
    browser.loaded()
    browser.js("document.querySelector('#q').value = arguments[0]", words)
    browser.js("document.querySelector('.search').requestSubmit()")


def test_search_knows_heights_ids_and_addresses(browser: Browser, network: Network) -> None:
    txid = network.send()
    network.final(txid)
    search(browser, " 1 ")
    browser.wait("return location.pathname.startsWith('/block/')")
    browser.wait_text("Block 1", "h1")
    block = block_of(browser, txid)
    search(browser, block.upper())
    browser.wait("return location.pathname === '/block/' + arguments[0]", block)
    browser.wait(f"return document.querySelector('[data-txid=\"{txid}\"]')")
    search(browser, txid)
    browser.wait("return location.pathname === '/tx/' + arguments[0]", txid)
    search(browser, network.address(2))
    browser.wait("return location.pathname === '/address/' + arguments[0]", network.address(2))
    browser.wait(f"return document.querySelector('[data-txid=\"{txid}\"]')")


@pytest.mark.parametrize(
    "words", ["no such thing", "ff" * 32, "99999999999", "rmoot1xyz", "%00", "é"]
)
def test_search_says_when_it_finds_nothing(browser: Browser, words: str) -> None:
    search(browser, words)
    browser.wait("return document.querySelector('#nothing-found')")
    assert words in browser.text("#nothing-found")


def test_a_height_leads_to_its_block(browser: Browser, network: Network) -> None:
    network.final(network.send())
    browser.open("/block-height/1")
    browser.wait("return location.pathname.startsWith('/block/')")
    browser.wait_text("Block 1", "h1")
    browser.open("/block-height/999999999")
    browser.wait_text("Not found")


def test_unknown_ids_are_not_found_in_plain_words(browser: Browser) -> None:
    for kind in ("block", "tx"):
        browser.open(f"/{kind}/{'00' * 31}01")
        browser.wait_text("Not found")
    browser.open("/address/rmoot1qqqqqqqqqqqq")
    browser.wait_text("Not found")


# ------------------------------------------------------------------------------------ strangers


@pytest.mark.parametrize(
    "memo",
    [
        f"<img src=x onerror='{HURT}'><script>{HURT}</script>",
        f"\"'><svg/onload={HURT}>",
        f"javascript:{HURT}",
    ],
)
def test_a_memo_is_never_markup(browser: Browser, network: Network, memo: str) -> None:
    txid = network.send(memo=memo.encode())
    network.final(txid)
    browser.open(f"/tx/{txid}")
    browser.wait_text(memo, ".memo")
    assert browser.js("return document.querySelectorAll('main img, main script').length") == 0
    assert browser.js("return window.hurt") is None
    assert not browser.complaints()


def test_a_memo_that_is_no_text_shows_as_hex(browser: Browser, network: Network) -> None:
    for memo in (b"\xff\xfe\x00", "a\u202egpj.exe".encode()):
        txid = network.send(memo=memo)
        network.final(txid)
        browser.open(f"/tx/{txid}")
        browser.wait_text(memo.hex(), ".memo")


def test_a_search_is_never_markup(browser: Browser) -> None:
    words = f"\"'><img src=x onerror='{HURT}'><script>{HURT}</script>"
    search(browser, words)
    browser.wait("return document.querySelector('#nothing-found')")
    assert words in browser.text("#nothing-found")
    assert browser.js("return document.querySelector('#q').value") == words
    assert browser.js("return window.hurt") is None
    assert browser.js("return document.querySelectorAll('main img').length") == 0


def everywhere(browser: Browser, network: Network) -> list[str]:
    """A path of every kind of page, each with something to show."""
    txid = network.send(memo=b"w" * 200)
    network.final(txid)
    browser.open("/")
    block = block_of(browser, txid)
    return [
        "/",
        f"/block/{block}",
        f"/tx/{txid}",
        f"/address/{network.address(2)}",
        "/mempool",
        "/peers",
        "/consensus",
        f"/search?q={'nonsense' * 20}",
        f"/tx/{'f' * 64}",
        "/block/nonsense",
    ]


def test_no_page_asks_another_host(browser: Browser, network: Network) -> None:
    browser.requested()
    for path in everywhere(browser, network):
        browser.open(path)
        browser.loaded()
        browser.wait("return document.querySelector('#network').textContent !== ''")
    urls = browser.requested()
    assert len(urls) > 40
    here = host_of(network.url)
    assert {url for url in urls if host_of(url) != here and not url.startswith("about:")} == set()


def test_nothing_overflows_a_phone(browser: Browser, network: Network) -> None:
    paths = everywhere(browser, network)
    browser.size(PHONE, 740, mobile=True)
    for path in paths:
        browser.open(path)
        browser.loaded()
        width = browser.js("return document.documentElement.scrollWidth")
        wide = browser.js(
            "return [...document.querySelectorAll('body *')].filter((e) => "
            "e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.hidden, thead'))"
            ".map((e) => e.outerHTML.slice(0, 120))"
        )
        assert width <= PHONE and wide == [], f"{path}: {width} {wide[:3]}"


def test_what_a_reader_holds_survives_updates(browser: Browser, network: Network) -> None:
    """Focus and typed words stay while the page changes underneath."""
    browser.open("/")
    browser.loaded()
    browser.js("document.querySelector('.faucet input').focus()")
    browser.js("document.querySelector('.faucet input').value = 'half an addr'")
    txid = network.send()
    browser.wait(f"return document.querySelector('[data-txid=\"{txid}\"] [data-state=final]')")
    assert browser.js("return document.activeElement === document.querySelector('.faucet input')")
    assert browser.js("return document.activeElement.value") == "half an addr"


def test_another_chain_on_the_same_port_begins_a_new_page(browser: Browser) -> None:
    browser.open("/mempool")
    browser.wait("return document.querySelector('#network').textContent !== ''")
    browser.js(MARK)
    browser.driver.execute_script(
        "import('/static/explorer/parts.js').then((m) => m.parts.remember({chain_id: 'other'}))"
    )
    browser.wait("return window.mark === undefined")
    browser.loaded()


def test_a_keyboard_reaches_the_search_and_an_id_can_be_copied(
    browser: Browser, network: Network
) -> None:
    browser.open(f"/address/{network.address(1)}")
    browser.loaded()
    browser.driver.find_element("tag name", "body").send_keys("/")
    assert browser.js("return document.activeElement.id") == "q"
    assert browser.js("return document.activeElement.value") == ""
    browser.driver.find_element("css selector", ".subject .copy").click()
    browser.wait("return document.querySelector('.subject .copy.copied')")
    assert browser.text("#announcer") == "Copied"


def test_the_reader_s_wishes_are_heeded(browser: Browser) -> None:
    """Dark or light, and no motion for whom it disturbs."""
    browser.open("/")
    browser.loaded()
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    motion = "return getComputedStyle(document.querySelector('.link-dot')).animationDuration"
    browser.wait("return document.querySelector('#link').dataset.state === 'live'")
    light, moving = browser.js(ground), browser.js(motion)
    wishes = {"prefers-color-scheme": "dark", "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        assert (light, browser.js(ground)) == ("rgb(247, 244, 236)", "rgb(17, 24, 22)")
        assert (moving, browser.js(motion)) == ("3s", "0.001s")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# --------------------------------------------------------------------------------------- modules


def test_amounts_are_exact_whatever_their_size(browser: Browser) -> None:
    browser.open("/mempool")
    browser.loaded()
    text = (
        '{"a":9007199254740993,"b":"say \\\\"12345678901234567890\\\\"",'
        '"c":[-4611686018427387904],"d":0.12345678901234567,"e":12}'
    )
    parsed = browser.module("json.js", f"m.parseJson('{text}')")
    assert parsed == {
        "a": "9007199254740993",
        "b": 'say "12345678901234567890"',
        "c": ["-4611686018427387904"],
        "d": 0.12345678901234567,
        "e": 12,
    }
    shown = {
        "'4611686018427387904'": "46,116,860,184.27387904",
        "1": "0.00000001",
        "100000000": "1",
        "'-150000000'": "−1.5",
        "0": "0",
    }
    for units, coins in shown.items():
        assert browser.module("format.js", f"m.coins({units})") == coins


def test_lists_keep_their_elements_when_they_change(browser: Browser) -> None:
    """Keyed children move, others are made or go; the order is the wanted one."""
    browser.open("/mempool")
    browser.loaded()
    script = """(() => {
      const list = document.createElement('ul');
      const rows = (keys) => [...keys].map((k) => m.h('li', {'data-key': k}, k));
      m.update(list, rows('abcd'));
      const before = Object.fromEntries([...list.children].map((e) => [e.dataset.key, e]));
      const out = [];
      for (const keys of ['dcba', 'xbcy', 'b', 'abc', '', 'zb']) {
        m.update(list, rows(keys));
        out.push([...list.children].map((e) => e.textContent).join(''));
        if (keys === 'dcba') out.push([...list.children].every((e) => before[e.dataset.key] === e));
      }
      return out;
    })()"""
    assert browser.module("dom.js", script) == ["dcba", True, "xbcy", "b", "abc", "", "zb"]


FAKE_NODE = """
const [answers, done] = [arguments[0], arguments[arguments.length - 1]];
window.fetch = async (path) => {
  const found = answers[path];
  return new Response(JSON.stringify(found ?? {error: 'none'}), {status: found ? 200 : 404});
};
"""


def fake_block(height: int, branch: str) -> dict[str, object]:
    return {"id": f"{branch}{height}", "height": height, "timestamp": 0, "tx_count": 1, "size": 9}


def test_blocks_that_the_chain_leaves_are_kept_apart(browser: Browser) -> None:
    """A reorganisation two deep, to a longer branch, and one to a shorter chain."""
    browser.open("/block/nonsense")
    script = (
        FAKE_NODE
        + """
    import('/static/explorer/chainview.js').then(async (m) => {
      const view = new m.ChainView();
      const seen = [];
      for (const blocks of answers.turns) {
        answers['/api/blocks'] = blocks;
        await view.look();
        seen.push([view.newest(9).map((b) => b.id), view.left.map((b) => b.id)]);
      }
      done(seen);
    });
    """
    )
    turns = [
        [fake_block(height, "a") for height in (3, 2, 1, 0)],
        [*(fake_block(height, "b") for height in (4, 3, 2)), *(fake_block(h, "a") for h in (1, 0))],
        [fake_block(height, "a") for height in (1, 0)],
    ]
    seen = browser.driver.execute_async_script(script, {"turns": turns})
    assert seen[0] == [["a3", "a2", "a1", "a0"], []]
    assert seen[1][0] == ["b4", "b3", "b2", "a1", "a0"]
    assert sorted(seen[1][1]) == ["a2", "a3"]
    assert seen[2][0] == ["a1", "a0"]
    assert sorted(seen[2][1]) == ["a2", "a3", "b2", "b3", "b4"]


def test_a_block_on_a_side_branch_says_so(browser: Browser, network: Network) -> None:
    network.final(network.send())
    browser.open("/")
    script = (
        "const done = arguments[0];"
        "Promise.all(['/moot/status', '/moot/block-height/1'].map((path) => fetch(path)"
        ".then((r) => r.json()))).then(done)"
    )
    status, block = browser.driver.execute_async_script(script)
    block |= {"status": "side", "following": None}
    path = f"/moot/block/{block['id']}"
    answers = {
        "/moot/status": status,
        path: block,
        f"/api/block/{block['id']}/txs/0": [],
    }
    browser.open("/block/nonsense")
    start = "import('/static/explorer/pages/block.js').then((m) => done(m.start(arguments[1])));"
    browser.driver.execute_async_script(FAKE_NODE + start, answers, block["id"])
    browser.wait_text("side branch", "h1")
    browser.wait_text("the chain went on without it", "#side-banner")
    assert not browser.js("return document.querySelector('a[download]')")
