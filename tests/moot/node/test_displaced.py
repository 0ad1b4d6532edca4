"""Displaced transactions: what the losing side of a partition had in blocks, and cannot keep."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chain.block import Block
from chain.hashing import BlockId, show_id
from chain.ledger import HeadMoved
from chain.manifest import Manifest
from chain.mempool import Moved
from chain.transaction import Transaction, Transfer
from moot.lab.cluster import USER_UNITS, Cluster
from moot.lab.node import SimulatedNode
from moot.lab.signer import SigningKey
from moot.node import displaced as books
from moot.node.builder import assemble
from moot.node.displaced import DisplacedBook
from moot.node.importer import Arrival
from tests.support.one_node import COINS, FEE, KEYS, OneNode
from tests.support.rest_api import Api


def pay(
    cluster: Cluster, sender: SigningKey, recipient: SigningKey, amount: int, nonce: int = 0
) -> Transaction:
    draft = Transaction(sender.address, nonce, 2_000, 0, 0, (Transfer(recipient.address, amount),))
    chain_id = cluster.nodes[0].running.ledger.chain_id
    return msgspec.structs.replace(draft, witness=(sender.sign(draft.signing_bytes(chain_id)),))


def submit(node: SimulatedNode, *transactions: Transaction) -> None:
    assert node.submit(list(transactions)) == [None] * len(transactions)


def until(cluster: Cluster, condition: object, within_ms: int = 60_000) -> None:
    assert cluster.world.run_until(cluster.world.now_ms + within_ms, condition), (  # type: ignore[arg-type]
        cluster.explain()
    )


def included(node: SimulatedNode, *transactions: Transaction) -> bool:
    return all(node.running.ledger.transaction(one.id) is not None for one in transactions)


def agreed(cluster: Cluster) -> bool:
    return len({node.running.ledger.head() for node in cluster.nodes}) == 1


def listed(node: SimulatedNode) -> dict[bytes, tuple[str, bytes]]:
    return {each.txid: (each.code, each.rival) for each in node.running.displaced.all()}


class Sides:
    """Five gossip nodes, of which the last two are cut off; users 0 to 3 pay on both sides."""

    def __init__(self, seed: int = 1) -> None:
        self.cluster = cluster = Cluster("gossip", 5, seed)
        self.many, self.few = cluster.nodes[:3], cluster.nodes[3:]
        cluster.start()
        cluster.run(2_000)
        cluster.network.partition(self.many, self.few)
        a, b, c, d = cluster.users[:4]
        self.twice_here = pay(cluster, a, b, 10**6)
        self.twice_there = pay(cluster, a, c, 10**6)
        self.only_here, self.only_there = pay(cluster, c, d, 111), pay(cluster, d, c, 222)
        # It spends what only the other side's payment has brought.
        self.leans = pay(cluster, b, d, USER_UNITS + 500_000)
        submit(self.many[0], self.twice_here, self.only_here)
        submit(self.few[0], self.twice_there, self.only_there)

    def heal(self) -> None:
        self.cluster.network.heal()
        until(self.cluster, lambda: agreed(self.cluster))


def test_both_sides_stay_writable_and_the_double_spend_is_told_on_all_nodes() -> None:
    sides = Sides()
    cluster = sides.cluster
    until(cluster, lambda: all(included(n, sides.twice_here, sides.only_here) for n in sides.many))
    until(cluster, lambda: all(included(n, sides.twice_there, sides.only_there) for n in sides.few))
    sides.heal()
    until(
        cluster, lambda: all(included(n, sides.only_here, sides.only_there) for n in cluster.nodes)
    )
    stays = {
        one for one in (sides.twice_here, sides.twice_there) if included(cluster.nodes[0], one)
    }
    assert len(stays) == 1
    (winner,) = stays
    loser = sides.twice_there if winner is sides.twice_here else sides.twice_here
    until(cluster, lambda: all(listed(node) for node in cluster.nodes))
    for node in cluster.nodes:
        assert listed(node) == {loser.id: ("wrong-nonce-low", winner.id)}
        (each,) = node.running.displaced.all()
        assert node.running.displaced.transaction(each) == loser
        assert books.sentence_of(each).endswith("(a double spend)")


@pytest.mark.parametrize("seed", range(2, 6))
def test_whoever_wins_nothing_is_lost_or_doubled(seed: int) -> None:
    sides = Sides(seed)
    cluster = sides.cluster
    cluster.run(1_000 * seed)
    sides.heal()
    singles = (sides.only_here, sides.only_there)
    until(cluster, lambda: all(included(node, *singles) for node in cluster.nodes))
    doubles = (sides.twice_here, sides.twice_there)
    for node in cluster.nodes:
        assert sum(included(node, one) for one in doubles) == 1
        assert set(listed(node)) <= {one.id for one in doubles if not included(node, one)}


def test_what_leaned_on_a_displaced_payment_is_displaced_with_it() -> None:
    sides = Sides()
    cluster = sides.cluster
    until(cluster, lambda: included(sides.many[0], sides.twice_here))
    submit(sides.many[0], sides.leans)
    until(cluster, lambda: included(sides.many[0], sides.leans))
    until(cluster, lambda: included(sides.few[0], sides.twice_there))
    # The smaller side has to win: more is paid there, so it writes more blocks.
    payer, few = cluster.users[4], sides.few[0]
    for number in range(20):
        submit(few, pay(cluster, payer, cluster.users[2], 1, number))
        last = few.running.mempool
        until(cluster, lambda last=last: len(last) == 0)
    sides.heal()
    assert included(sides.many[0], sides.twice_there), "the higher branch wins, not the majority"
    until(cluster, lambda: all(len(listed(node)) == 2 for node in cluster.nodes))
    for node in cluster.nodes:
        found = listed(node)
        assert found[sides.twice_here.id] == ("wrong-nonce-low", sides.twice_there.id)
        assert found[sides.leans.id] == ("insufficient-balance", b"")


def test_the_list_outlives_a_restart() -> None:
    sides = Sides()
    cluster = sides.cluster
    cluster.run(4_000)
    sides.heal()
    until(cluster, lambda: all(listed(node) for node in cluster.nodes))
    node = cluster.nodes[0]
    before = listed(node)
    node.crash()
    cluster.run(100)
    node.start()
    assert listed(node) == before


# --------------------------------------------------------------------------- book, REST


def rival_branch(
    one: OneNode, parent: BlockId, *transactions: Transaction, length: int
) -> list[Block]:
    """Blocks beside the head's branch, the first of which holds ``transactions``."""
    ledger, blocks = one.core.ledger, []
    for number in range(length):
        time_ms = ledger.header(parent).time_ms + 1
        execution = ledger.execution(parent, time_ms=time_ms, producer=KEYS[3].address)
        chosen = transactions if number == 0 else ()
        for each in chosen:
            execution.apply(each)
        manifest = Manifest(
            ledger.height(parent) + 1,
            time_ms,
            KEYS[3].address,
            execution.finish(()).state.root,
            ledger.next_validators(parent).hash,
            b"",
            0,
            bytes(8),
        )
        block = assemble(parent, manifest, chosen, 0)
        result = one.core.importer.offer(Arrival(block, "sync", None), time_ms)
        assert result.outcome == "imported", result
        blocks.append(block)
        parent = block.id
    one.core.pump()
    return blocks


async def test_rest_tells_what_was_displaced_by_what_and_forgets_it_when_it_returns(
    tmp_path: Path,
) -> None:
    async with OneNode(tmp_path, "gossip", mining=True) as one, Api(one.url) as api:
        assert (await api.get("/moot/displaced")).value == {"displaced": []}
        ours = one.sign(KEYS[0], [Transfer(KEYS[1].address, 5)], nonce=0)
        theirs = one.sign(KEYS[0], [Transfer(KEYS[2].address, 6)], nonce=0)
        await one.client.submit([ours.raw])
        await one.until(lambda: one.core.ledger.transaction(ours.id) is not None)
        genesis = one.core.ledger.id_at(0)
        assert genesis is not None
        blocks = rival_branch(one, genesis, theirs, length=20)
        assert one.core.ledger.head() == blocks[-1].id
        (told,) = (await api.get("/moot/displaced")).value["displaced"]
        assert told["txid"] == show_id(ours.id) and told["rival"] == show_id(theirs.id)
        assert told["code"] == "wrong-nonce-low" and "double spend" in told["sentence"]
        assert told["sender"] == one.show(KEYS[0].address) and told["height"] == 1
        facts = (await api.get(f"/moot/tx/{show_id(ours.id)}")).value
        assert facts["state"] == "displaced" and "double spend" in facts["sentence"]
        assert facts["actions"][0]["amount"] == 5
        (state,) = await one.client.transaction_statuses([show_id(ours.id)])
        assert (state.state, state.code) == ("displaced", "wrong-nonce-low")
        found = (await api.get(f"/moot/search?q={show_id(ours.id)}")).value
        assert found["kind"] == "transaction"
        metrics = (await api.get("/metrics")).text
        assert "moot_displaced_txs 1.0" in metrics
        assert 'moot_consensus_fact{fact="reorganisations"} 1.0' in metrics
        # A longer branch includes it after all: then it is struck off.
        rival_branch(one, genesis, ours, length=40)
        listed_now = {
            each["txid"] for each in (await api.get("/moot/displaced")).value["displaced"]
        }
        assert listed_now == {show_id(theirs.id)}


async def test_a_block_beside_the_head_counts_too_and_what_fits_waits_for_inclusion(
    tmp_path: Path,
) -> None:
    """The winning side sees what the losing one had."""
    async with OneNode(tmp_path, "gossip", mining=True) as one:
        ours = one.sign(KEYS[0], [Transfer(KEYS[1].address, 5)], nonce=0)
        await one.client.submit([ours.raw])
        await one.until(lambda: one.core.ledger.height(one.core.ledger.head()) >= 3)
        genesis = one.core.ledger.id_at(0)
        assert genesis is not None
        theirs = one.sign(KEYS[0], [Transfer(KEYS[2].address, 6)], nonce=0)
        rival_branch(one, genesis, theirs, length=1)
        assert one.core.displaced.get(theirs.id) is not None
        fits = one.sign(KEYS[1], [Transfer(KEYS[2].address, 7)], nonce=0)
        rival_branch(one, genesis, fits, length=1)
        assert one.core.displaced.get(fits.id) is None
        await one.until(lambda: one.core.ledger.transaction(fits.id) is not None)


async def test_what_is_in_a_block_again_but_fails_there_is_told(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "gossip", mining=True) as one:
        ledger = one.core.ledger
        genesis = ledger.id_at(0)
        assert genesis is not None
        brings = one.sign(KEYS[0], [Transfer(KEYS[1].address, COINS // 2)], nonce=0)
        leans = one.sign(KEYS[1], [Transfer(KEYS[2].address, COINS + 5)], nonce=0)
        for each in (brings, leans):
            await one.client.submit([each.raw])
            await one.until(lambda each=each: ledger.transaction(each.id) is not None)
        instead = one.sign(KEYS[0], [Transfer(KEYS[2].address, 6)], nonce=0)
        rival_branch(one, genesis, instead, leans, length=30)
        found = {each.txid: each.code for each in one.core.displaced.all()}
        assert found == {brings.id: "wrong-nonce-low", leans.id: "insufficient-funds"}


async def test_the_list_is_bounded_and_a_foreign_note_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "DISPLACED_MAX", 3)
    monkeypatch.setattr(books, "RETURNED_MAX", 3)
    async with OneNode(tmp_path, "gossip") as one:
        ledger = one.core.ledger
        genesis = ledger.id_at(0)
        assert genesis is not None
        signed = [
            one.sign(KEYS[number % 3], [Transfer(KEYS[3].address, 1)], nonce=0, fee=FEE + number)
            for number in range(6)
        ]
        blocks = [rival_branch(one, genesis, each, length=1)[0] for each in signed]
        book = DisplacedBook(ledger)
        for block, each in zip(blocks, signed, strict=True):
            if ledger.transaction(each.id) is None:
                book.side_block(block, [(each, "wrong-nonce-low")], 1)
        assert len(book) == 3 and DisplacedBook(ledger).all() == book.all()
        book.head_moved(HeadMoved(tuple(blocks), ()), Moved((), (), ()), 2)
        assert len(book._returned) == 3
        ledger.put_note(books.NOTE, b"from another version")
        assert len(DisplacedBook(ledger)) == 0
