"""The load generator: its accounts add up, whatever the nodes do."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.bech32m import show_address
from chain.transaction import Transaction
from moot.client import NodeUnreachable
from moot.client.load import LoadGenerator
from moot.client.load_accounts import LoadTransaction, Sender
from moot.client.percentiles import percentiles
from wallet.development import development_key

KEYS = [development_key(index) for index in range(4)]


async def eventually(condition: Callable[[], object]) -> None:
    """Until ``condition`` holds; TimeoutError after 10 s."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (it looks into objects that tell nobody)
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def funded(network: Any) -> None:
    for key in KEYS:
        network.fund(key.address)


async def test_all_transactions_end_final(network: Any, node: Any, blocks: None) -> None:
    async with LoadGenerator([node.url], KEYS, rate=200) as load:
        await load.run(1)
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == report["committed"] == report["finalized"] == 200
    assert report["failed"] == report["pending"] == 0
    assert report["failed_by_reason"] == {}
    assert report["problem"] is None
    assert sum(network.nonces.values()) == 200
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"]
    assert report["tps"] == pytest.approx(200, rel=0.3)


async def test_senders_are_spread_over_nodes(network: Any, more_nodes: Any, blocks: None) -> None:
    nodes = [await more_nodes() for _ in range(3)]
    async with LoadGenerator([n.url for n in nodes], KEYS, rate=100) as load:
        await load.run(0.5)
        assert await load.drain(10)
    assert sum(sum(n.batches) for n in nodes) == 50
    assert all(n.batches for n in nodes)


async def test_latency_counts_from_the_intended_time(network: Any, node: Any, blocks: None) -> None:
    # The node stands still for 0.6 s: whoever only measures answered requests would not notice.
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        running = asyncio.create_task(load.run(1))
        await eventually(lambda: node.batches)
        node.running.clear()
        await asyncio.sleep(0.6)
        node.running.set()
        await running
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == report["finalized"] == 100
    assert report["latency_ms"]["max"] > 500
    # A good half of the slots fell into the pause, and each of them tells so by its share.
    assert report["latency_ms"]["p50"] > 100


async def test_refused_transactions_fail_and_their_senders_go_on(
    network: Any, node: Any, blocks: None
) -> None:
    refused: list[Transaction] = []

    def every_seventh(transaction: Transaction) -> str:
        if transaction.nonce % 7 == 3 and len(refused) < 5:
            refused.append(transaction)
            return "mempool-full"
        return ""

    node.refuse = every_seventh
    async with LoadGenerator([node.url], KEYS, rate=200) as load:
        await load.run(0.5)
        assert await load.drain(10)
        report = load.report()
    assert len(refused) == 5
    assert report["failed_by_reason"] == {"mempool-full": 5}
    assert report["finalized"] == 95
    assert report["pending"] == 0
    assert sum(network.nonces.values()) == 95


async def test_a_refusal_at_the_end_does_not_strand_what_came_after(
    network: Any, node: Any, blocks: None
) -> None:
    # The last but one of the only sender is refused, and nothing is left to use its nonce.
    node.refuse = lambda transaction: "mempool-full" if transaction.nonce == 8 else ""
    async with LoadGenerator([node.url], KEYS[:1], rate=200) as load:
        running = asyncio.create_task(load.run(0.05))
        await running
        await eventually(lambda: load.report()["failed"] == 1)
        node.refuse = lambda _: ""
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == 10
    assert report["failed_by_reason"] == {"mempool-full": 1}
    assert report["committed"] == report["finalized"] == 9
    assert network.nonces[KEYS[0].address] >= 9


async def test_nonces_are_asked_for_again(network: Any, node: Any, blocks: None) -> None:
    # Somebody else spends from one of the accounts between our look and our first transaction.
    async with LoadGenerator([node.url], KEYS[:1], rate=50) as load:
        original = load._prepare_senders

        async def prepare() -> None:
            await original()
            network.nonces[KEYS[0].address] = 5

        load._prepare_senders = prepare  # type: ignore[method-assign]
        await load.run(0.5)
        assert await load.drain(10)
        report = load.report()
    assert report["pending"] == 0
    assert report["submitted"] == 25
    assert set(report["failed_by_reason"]) == {"wrong-nonce-low"}
    assert report["finalized"] >= 20
    assert network.nonces[KEYS[0].address] == 5 + report["finalized"]


async def test_poor_accounts_fail_by_reason(network: Any, node: Any, blocks: None) -> None:
    network.balances[KEYS[0].address] = 0
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        await load.run(0.4)
        assert await load.drain(10)
        report = load.report()
    assert report["failed_by_reason"] == {"insufficient-balance": 10}
    assert report["finalized"] == 30


async def test_failed_receipts_count_as_failed(
    network: Any, node: Any, blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moot.client.load_accounts.AMOUNT", 666)
    network.depth = 1
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        await load.run(0.2)
        assert await load.drain(10)
        report = load.report()
    assert report["failed_by_reason"] == {"no-such-luck": 20}
    assert report["committed"] == report["finalized"] == 0


async def test_a_dead_node_hands_its_senders_on(
    network: Any, more_nodes: Any, blocks: None
) -> None:
    first, second = await more_nodes(), await more_nodes()
    async with LoadGenerator([first.url, second.url], KEYS, rate=100) as load:
        running = asyncio.create_task(load.run(1))
        await eventually(lambda: len(first.batches) >= 5)
        await first.stop()
        await running
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == report["finalized"] == 100
    assert "cannot be reached" in report["problem"]
    assert sum(network.nonces.values()) == 100


async def test_a_node_that_comes_back_serves_again(network: Any, node: Any, blocks: None) -> None:
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        running = asyncio.create_task(load.run(0.8))
        await eventually(lambda: node.batches)
        await node.stop()
        await running
        assert load.report()["pending"] > 0
        await node.start()
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == report["finalized"] == 80


async def test_lost_transactions_are_handed_in_again(
    network: Any, node: Any, blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moot.client.load.LOST_AFTER_S", 0.2)
    node.forget = True
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        await load.run(0.3)
        node.forget = False
        assert await load.drain(10)
        report = load.report()
    assert report["finalized"] == report["submitted"] == 30
    # The same bytes: had they been signed anew, nonces would be missing or doubled.
    assert sum(network.nonces.values()) == 30


async def test_a_left_block_uncommits(network: Any, node: Any) -> None:
    network.depth = 1
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        await load.run(0.2)
        await eventually(lambda: len(network.mempool) == 20)
        await network.make_block()
        await eventually(lambda: load.report()["committed"] == 20)
        await network.undo_block()
        await network.make_block()
        await network.make_block()
        assert await load.drain(10)
        report = load.report()
    assert report["committed"] == report["finalized"] == 20


async def test_without_finality_commitment_is_the_goal(network: Any, node: Any) -> None:
    network.depth = 1_000_000
    async with LoadGenerator([node.url], KEYS, rate=100, goal="committed") as load:
        await load.run(0.2)
        await eventually(lambda: len(network.mempool) == 20)
        await network.make_block()
        await eventually(lambda: load.report()["committed"] == 20)
        await network.undo_block()
        # What was committed is open again, and ends only with the next block.
        assert not await load.drain(0.2)
        await network.make_block()
        assert await load.drain(10)
        report = load.report()
    assert report["submitted"] == report["committed"] == 20
    assert report["finalized"] == report["failed"] == report["pending"] == 0


async def test_a_stopped_load_sees_through_what_was_due(
    network: Any, node: Any, blocks: None
) -> None:
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        running = asyncio.create_task(load.run(86_400))
        await eventually(lambda: sum(node.batches) >= 20)
        load.stop()
        assert await load.drain(10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        report = load.report()
        await eventually(lambda: network.height > 20)
        assert load.report() == report
    assert 20 <= report["submitted"] == report["finalized"] == sum(node.batches) < 100
    assert load.report() == report


async def test_deep_blocks_are_not_watched_for_ever(
    network: Any, node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moot.client.load.SETTLED_DEPTH", 1)
    network.depth = 1_000_000
    async with LoadGenerator([node.url], KEYS, rate=100, goal="committed") as load:
        await load.run(0.2)
        await eventually(lambda: len(network.mempool) == 20)
        await network.make_block()
        await eventually(lambda: load.report()["committed"] == 20)
        before = load.report()
        await network.make_block()
        await network.make_block()
        assert await load.drain(10)
        await eventually(lambda: not load._revocable)
        assert load.report() == before


async def test_drain_says_when_time_is_over(network: Any, node: Any) -> None:
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        await load.run(0.1)
        assert not await load.drain(0.2)
        report = load.report()
    assert report["pending"] == report["submitted"] == 10
    assert report["latency_ms"] is None
    assert report["tps"] == 0.0


async def test_no_node_at_the_start_is_an_error(node: Any) -> None:
    await node.stop()
    async with LoadGenerator([node.url], KEYS, rate=100) as load:
        with pytest.raises(NodeUnreachable):
            await load.run(0.1)
        assert load.report()["submitted"] == 0


def test_odd_settings_are_refused() -> None:
    for nodes, keys, rate in (([], KEYS, 1), (["http://x"], [], 1), (["http://x"], KEYS, 0)):
        with pytest.raises(ValueError, match=r"node|rate"):
            LoadGenerator(nodes, keys, rate)


def test_percentiles_are_exact() -> None:
    values = [float(value) for value in range(1, 101)]
    found = percentiles(list(reversed(values)))
    assert found is not None
    assert (found.p50, found.p90, found.p99, found.max) == (50, 90, 99, 100)
    assert found.p50 <= statistics.median(values)
    assert percentiles([]) is None
    assert percentiles([7.0]) == (7, 7, 7, 7)


# --- senders -----------------------------------------------------------------------------------


def _sender(start: int = 0, count: int = 5) -> tuple[Sender, list[LoadTransaction]]:
    sender = Sender(KEYS[0], KEYS[1].address, "rmoot", bytes(32), 1000, 0)
    sender.start_at(start)
    items = [LoadTransaction(sender, float(index)) for index in range(count)]
    for item in items:
        sender.add(item)
    return sender, items


def _send(sender: Sender, count: int) -> None:
    for _ in range(count):
        sender.sent(sender.waiting.popleft())


def test_nonces_run_on() -> None:
    sender, items = _sender(start=7)
    assert [item.nonce for item in items] == [7, 8, 9, 10, 11]
    assert sender.address == show_address(KEYS[0].address, "rmoot")
    assert len({item.txid for item in items}) == 5


def test_a_freed_nonce_is_filled_first_and_taken_ones_are_kept() -> None:
    sender, items = _sender()
    _send(sender, 3)
    sender.release([items[1]])
    assert [item.nonce for item in sender.waiting] == [1, 3]
    late = LoadTransaction(sender, 9.0)
    sender.add(late)
    assert late.nonce == 4


def test_what_was_sent_keeps_its_bytes() -> None:
    sender, items = _sender()
    _send(sender, 3)
    before = [item.raw for item in items]
    sender.send_again([items[2], items[0]])
    sender.start_at(0)
    assert [item.raw for item in items] == before
    assert [item.nonce for item in sender.waiting] == [0, 2, 3, 4]


def test_what_is_dropped_may_leave_a_hole() -> None:
    sender, items = _sender()
    _send(sender, 3)
    assert not sender.has_hole()
    sender.release([items[1]])
    assert sender.drop_after(3.5) == 1
    assert [item.nonce for item in sender.waiting] == [1]
    assert sender.drop_after(2.5) == 1
    assert sender.has_hole()
    filler = LoadTransaction(sender, 9.0, filler=True)
    sender.add(filler)
    assert filler.nonce == 1
    assert not sender.has_hole()


def test_the_chains_nonce_rules() -> None:
    sender, _ = _sender()
    _send(sender, 2)
    sender.start_at(10)
    assert [item.nonce for item in sender.waiting] == [10, 11, 12]


@given(st.lists(st.tuples(st.integers(1, 4), st.lists(st.sampled_from("tru"), max_size=4))))
def test_whatever_is_refused_or_unsure_no_nonce_is_lost_or_doubled(
    rounds: list[tuple[int, list[str]]],
) -> None:
    """t: taken, r: refused, u: no answer, so the same bytes go out again."""
    sender, _ = _sender(count=0)
    taken: list[LoadTransaction] = []

    def send(outcomes: list[str]) -> None:
        batch = [sender.waiting.popleft() for _ in outcomes if sender.waiting]
        for item in batch:
            sender.sent(item)
        told = list(zip(batch, outcomes, strict=False))
        taken.extend(item for item, outcome in told if outcome == "t")
        again = [item for item, outcome in told if outcome == "u"]
        # What is sent again keeps its bytes, so refusals must not touch it.
        before = {item.txid for item in again}
        sender.send_again(again)
        refused = [item for item, outcome in told if outcome == "r"]
        if refused:
            sender.release(refused)
        assert before <= {item.txid for item in sender.waiting}

    for added, outcomes in rounds:
        for _ in range(added):
            sender.add(LoadTransaction(sender, 0.0))
        send(outcomes)
    while sender.waiting or sender.has_hole():
        if not sender.waiting:
            sender.add(LoadTransaction(sender, 0.0, filler=True))
        send(["t"] * len(sender.waiting))
    nonces = sorted(item.nonce for item in taken)
    assert nonces == list(range(len(nonces)))
    assert len({item.txid for item in taken}) == len(taken)
