"""Claims of the papers behind ``gossip``, by section.

Demers et al., "Epidemic algorithms for replicated database maintenance" (PODC 1987); Gilbert and
Lynch, "Brewer's conjecture and the feasibility of consistent, available, partition-tolerant web
services" (2002); Shapiro et al., "Conflict-free replicated data types" (SSS 2011).
"""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from chain.transaction import Transaction, Transfer
from consensus.contract import Broadcast, Fetch, Send, TimerFired
from consensus.gossip.engine import BROADCAST_EVERY, ROUND
from consensus.gossip.messages import Digest, Point
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from tests.consensus.gossip.test_engine import ANN, GENESIS, Bench, chain, child, the
from tests.support.fake_chain import make_address

# ------------------------------------------------------------------------------------ Demers 1987


def test_section_1_3_anti_entropy_each_round_picks_partners_at_random() -> None:
    """Each site, once a period, takes one of the others, all equally likely, and the two resolve
    their differences."""
    bench = Bench()
    greeting = Digest((Point(0, GENESIS.id),), (), False)
    for number in range(1, 9):
        bench.hear(greeting, make_address(number))
    told: dict[bytes, int] = {}
    for _ in range(40 * BROADCAST_EVERY):
        for send in the(Send, bench.tell(TimerFired(ROUND))):
            told[send.to] = told.get(send.to, 0) + 1
    assert len(told) == 8
    mean = sum(told.values()) / 8
    assert all(abs(count - mean) < 6 * math.sqrt(mean) for count in told.values())


def test_section_1_3_push_pull_both_ends_have_what_either_had_after_one_exchange() -> None:
    """ResolveDifference as push-pull: who was asked answers, so each pulls what it lacks."""
    one, other = Bench(), Bench()
    mine, theirs = chain(3, 1), chain(2, 2)
    one.imported(*mine)
    other.imported(*theirs)
    effects = other.hear(one.digest())
    (pull,) = the(Fetch, effects)
    assert pull.blocks == (mine[-1].id,)
    (answer,) = [one.message for one in the(Send, effects)]
    assert isinstance(answer, Digest)
    (pull_back,) = the(Fetch, one.hear(answer))
    assert pull_back.blocks == (theirs[-1].id,)


def test_section_1_3_checksums_spare_the_exchange_where_nothing_differs() -> None:
    """Contents are compared only where checksums differ, and they mostly agree. Here one id is the
    checksum of all below it: a digest that names only known tips moves no block."""
    one, other = Bench(), Bench()
    blocks = chain(50, 1)
    one.imported(*blocks)
    other.imported(*blocks)
    assert not the(Fetch, other.hear(one.digest()))
    assert other.facts()["digests that brought none"] == 1


def test_section_1_3_ranges_tell_where_two_databases_part() -> None:
    """Recent updates lists and checksums there; here the greatest shared point of the ranges."""
    one, other = Bench(), Bench()
    common = chain(40, 1)
    ours, theirs = chain(5, 2, common[-1]), chain(9, 3, common[-1])
    one.imported(*common, *ours)
    other.imported(*common, *theirs)
    other.hear(one.digest())
    (row,) = other.status().tables["peers"]
    shared = int(row["shared up to"])
    assert 40 - 5 * 2 <= shared <= 40, "within a doubling of the distance to the fork"


@pytest.mark.parametrize("nodes", [4, 8, 16])
def test_section_1_3_an_update_reaches_all_in_a_time_that_grows_like_the_logarithm(
    nodes: int,
) -> None:
    """An update infects all of n sites in a time proportional to log n. The node's own relay of
    blocks is quicker still, and must not be slower."""
    cluster = Cluster("gossip", nodes, 1)
    cluster.start()
    cluster.run(1_000)
    cluster.transfer(random.Random(1), cluster.nodes[0], cluster.users[0])
    first = cluster.world.run_until(60_000, lambda: any(_height(n) >= 1 for n in cluster.nodes))
    assert first
    began_ms = cluster.world.now_ms
    assert cluster.world.run_until(60_000, lambda: all(_height(n) >= 1 for n in cluster.nodes))
    assert cluster.world.now_ms - began_ms <= 500 * math.log2(nodes)


# --------------------------------------------------------------------------- Gilbert and Lynch 2002


def test_section_2_available_every_request_to_a_node_that_is_up_is_answered() -> None:
    """Every request to a node that has not failed gets an answer, however the network is cut: each
    of five lonely nodes takes a payment into a block of its own."""
    cluster = Cluster("gossip", 5, 2)
    cluster.start()
    cluster.run(1_000)
    cluster.network.partition(*([node] for node in cluster.nodes))
    paid = []
    for number, node in enumerate(cluster.nodes):
        payment = _pay(cluster, number, 1)
        assert node.submit([payment]) == [None]
        paid.append((node, payment))
    cluster.run(5_000)
    assert all(node.running.ledger.transaction(one.id) is not None for node, one in paid)
    cluster.network.heal()
    cluster.run(20_000)
    assert len({node.running.ledger.head() for node in cluster.nodes}) == 1
    for node in cluster.nodes:
        assert all(node.running.ledger.transaction(one.id) is not None for _, one in paid)


def test_theorem_1_so_it_cannot_be_consistent() -> None:
    """Availability and atomic consistency together are impossible where messages are lost: one
    coin is spent on both sides, and both are shown it in a block."""
    cluster = Cluster("gossip", 2, 3)
    cluster.start()
    cluster.run(1_000)
    cluster.network.partition(cluster.nodes[:1], cluster.nodes[1:])
    twice = [_pay(cluster, 0, amount) for amount in (1, 2)]
    for node, payment in zip(cluster.nodes, twice, strict=True):
        assert node.submit([payment]) == [None]
    cluster.run(4_000)
    for node, payment in zip(cluster.nodes, twice, strict=True):
        ledger = node.running.ledger
        located = ledger.transaction(payment.id)
        assert located is not None and located.height <= ledger.height(ledger.confirmed())
    cluster.network.heal()
    cluster.run(10_000)
    for node in cluster.nodes:
        (lost,) = node.running.displaced.all()
        assert {lost.txid, lost.rival} == {payment.id for payment in twice}


# ------------------------------------------------------------------------------ Shapiro et al. 2011


def test_section_2_2_replicas_that_delivered_the_same_updates_have_equal_state() -> None:
    """Strong eventual consistency. The property itself: test_engine's
    test_the_same_blocks_give_the_same_head_in_whatever_order; here that delivering an update
    twice, or late, changes nothing (idempotence, commutativity)."""
    bench = Bench()
    high, low = chain(3, 1), child(GENESIS, 2)
    bench.imported(*high, low)
    head = bench.tree.head()
    bench.imported(low, *high, low)
    assert bench.tree.head() == head == high[-1].id


def test_the_merge_is_monotonic_the_head_never_gets_lower() -> None:
    rng = random.Random(5)
    bench, heights = Bench(), [0]
    blocks = [GENESIS]
    for number in range(60):
        block = child(rng.choice(blocks), rng.randrange(5), number)
        blocks.append(block)
        bench.imported(block)
        heights.append(bench.tree.height(bench.tree.head()))
    assert heights == sorted(heights)


def test_a_greeting_is_broadcast_so_that_nobody_need_be_known_beforehand() -> None:
    (hello,) = the(Broadcast, Bench().started)
    assert isinstance(hello.message, Digest) and hello.message.answer
    assert the(Send, Bench().hear(hello.message, ANN))


def _height(node: SimulatedNode) -> int:
    ledger = node.running.ledger
    return ledger.height(ledger.head())


def _pay(cluster: Cluster, user: int, amount: int) -> Transaction:
    sender, recipient = cluster.users[user], cluster.users[(user + 1) % len(cluster.users)]
    draft = Transaction(sender.address, 0, 2_000, 0, 0, (Transfer(recipient.address, amount),))
    chain_id = cluster.nodes[0].running.ledger.chain_id
    return msgspec.structs.replace(draft, witness=(sender.sign(draft.signing_bytes(chain_id)),))
