"""Keeping up: announcements, forks, missing parents, finality proofs, and losses."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p.actions import PeerKey
from p2p.wire import AnnounceBlock, BlockBody, FinalityProof, Heads, PeerMessage, Status
from tests.p2p.simnet import GENESIS, FakeChain, Net, Node, branch, make_block, proof_of


def mesh(net: Net, nodes: list[Node]) -> None:
    for index, left in enumerate(nodes):
        for right in nodes[:index]:
            net.link(left, right)


def heads_agree(net: Net) -> bool:
    return len({node.chain.head() for node in net.nodes.values()}) == 1


def test_an_announced_block_is_fetched_exactly_once_by_each_node() -> None:
    net = Net(seed=3)
    nodes = [net.node(f"node-{index}") for index in range(10)]
    for index, node in enumerate(nodes):
        for other in net.rng.sample(nodes[:index], min(index, 3)):
            net.link(node, other)
    blocks = []
    for _ in range(30):
        blocks.append(nodes[net.rng.randrange(10)].mine())
        net.run(lambda: all(n.chain.head() == blocks[-1].id for n in nodes), limit_ms=2_000)
    for node in nodes:
        assert node.reported == {}
        assert node.syncing_changes == []
        assert all(count == 1 for count in node.bodies.values())
    assert max(net.bodies_sent.values()) == 1, "no body goes twice to one peer"
    assert sum(net.bodies_sent.values()) == 30 * 9


def test_an_announcement_travels_at_network_speed() -> None:
    """Announce, get, body: three delays for each hop, no timer between."""
    net = Net(delay_ms=10, tick_ms=1_000)
    line = [net.node(f"node-{index}") for index in range(4)]
    for left, right in pairwise(line):
        net.link(left, right)
    net.run(limit_ms=1_000)
    block = line[0].mine()
    net.run(limit_ms=1_000)
    assert all(node.chain.head() == block.id for node in line)


def test_a_silent_announcer_is_replaced_by_another_holder() -> None:
    net = Net()
    left, good, silent = net.node("left"), net.node("good"), net.node("silent")
    net.tampers[silent.key] = lambda sender, to, m: [] if isinstance(m, BlockBody) else [m]
    block = branch(GENESIS, 1)[0]
    net.link(left, silent)
    net.link(left, good)
    for node in (silent, good):
        node.take(block, None)
    net.run(lambda: left.chain.knows(block.id), limit_ms=10_000)
    assert left.reported == {}


def test_the_heavier_of_two_forks_is_chosen_though_it_is_lower() -> None:
    net = Net()
    stem = branch(GENESIS, 100)
    longer, heavier = branch(stem[-1], 40), branch(stem[-1], 30, 5)
    left, right, fresh = net.node("left"), net.node("right"), net.node("fresh")
    left.chain.grow([*stem, *longer])
    right.chain.grow([*stem, *heavier])
    net.link(fresh, left)
    net.link(fresh, right)
    net.run(lambda: fresh.chain.head() == heavier[-1].id and not fresh.sync.syncing)
    assert fresh.reported == {}
    net.link(left, right)
    net.run(lambda: heads_agree(net), limit_ms=10_000)


@pytest.mark.parametrize("finalizes", [False, True])
def test_two_heads_of_one_weight_meet_though_no_block_follows(finalizes: bool) -> None:
    """Else a tie rule that both sides share could never make them agree after a partition."""
    net = Net()
    stem = branch(GENESIS, 50)
    ours = branch(stem[-1], 10)
    left, right = net.node("left", finalizes=finalizes), net.node("right", finalizes=finalizes)
    theirs = [make_block(stem[-1], b"other")]
    theirs += branch(theirs[0], 9)
    left.chain.grow([*stem, *ours])
    right.chain.grow([*stem, *theirs])
    net.link(left, right)
    net.run(lambda: left.chain.knows(theirs[-1].id), limit_ms=2_000)
    net.run(lambda: right.chain.knows(ours[-1].id), limit_ms=2_000)
    assert left.syncing_changes == right.syncing_changes == []


def test_a_deep_reorganisation_begins_at_the_fork_point() -> None:
    net = Net()
    stem = branch(GENESIS, 300)
    ours, theirs = branch(stem[-1], 900), branch(stem[-1], 1_100, 1)
    left, right = net.node("left"), net.node("right")
    left.chain.grow([*stem, *ours])
    right.chain.grow([*stem, *theirs])
    net.link(left, right)
    net.run(lambda: left.chain.head() == theirs[-1].id)
    assert [block.id for block in left.delivered] == [block.id for block in theirs]
    assert left.reported == {} and right.reported == {}


def test_a_wanted_block_comes_with_its_unknown_ancestors() -> None:
    net = Net()
    blocks = branch(GENESIS, 12)
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    for block in blocks:  # known to the other, but not on its main chain: no announcement tells
        assert right.chain.add(block)
    left.do(left.sync.want([blocks[-1].id], right.key, net.now_ms))
    net.run(lambda: left.chain.knows(blocks[-1].id), limit_ms=5_000)
    assert [block.id for block in left.delivered] == [block.id for block in blocks]
    assert left.sync.counts()["wants"] == 0


def test_a_wanted_block_is_asked_of_others_where_the_hint_lacks_it() -> None:
    net = Net()
    block = branch(GENESIS, 1)[0]
    left, wrong, right = net.node("left"), net.node("wrong"), net.node("right")
    assert right.chain.add(block)
    net.link(left, wrong)
    net.link(left, right)
    left.do(left.sync.want([block.id], wrong.key, net.now_ms))
    net.run(lambda: left.chain.knows(block.id), limit_ms=2_000)


def test_a_wanted_block_that_nobody_has_is_forgotten() -> None:
    net = Net()
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    left.do(left.sync.want([bytes([n]) * 32 for n in range(1, 256)] * 3, right.key, net.now_ms))
    assert left.sync.counts()["wants"] <= 256
    net.run(lambda: sum(left.sync.counts().values()) == 0, limit_ms=35_000)
    assert left.reported == {}


def test_a_missing_parent_leads_to_headers_first() -> None:
    net = Net()
    blocks = branch(GENESIS, 50)
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    right.chain.grow(blocks[:49])  # unannounced, as after a lost message
    right.take(blocks[49], None)
    net.run(lambda: left.chain.head() == blocks[-1].id, limit_ms=1_000)


def test_observers_are_given_the_newest_finality_proof() -> None:
    net = Net()
    maker, observer = net.node("maker", finalizes=True), net.node("observer", finalizes=True)
    net.link(maker, observer)
    blocks = []
    for _ in range(5):  # the blocks come first, finality later
        block = make_block(maker.chain.blocks[maker.chain.head()])
        assert maker.chain.add(block)
        maker.chain.move_head(block.id)
        maker.do(maker.sync.head_moved(net.now_ms))
        blocks.append(block)
        net.run(limit_ms=100)
    assert observer.chain.knows(blocks[-1].id) and observer.chain.final_height == 0
    maker.take_proof(blocks[3].id, proof_of(blocks[3]))
    maker.take_proof(blocks[4].id, proof_of(blocks[4]))
    net.run(lambda: observer.chain.final_height == 5, limit_ms=1_000)
    net.run(limit_ms=20_000)
    assert net.sent["FinalityProof"] == 1, "the newest only, once"


def test_no_proof_is_pushed_to_peers_that_have_finality_themselves() -> None:
    net = Net()
    nodes = [net.node(f"node-{index}", finalizes=True) for index in range(4)]
    mesh(net, nodes)
    parent = GENESIS
    for _ in range(20):
        block = make_block(parent)
        for node in nodes:  # each decides for itself, as validators do
            node.take(block, proof_of(block))
        parent = block
        net.run(limit_ms=100)
    net.run(limit_ms=5_000)
    assert net.sent["FinalityProof"] == 0
    assert net.sent["BlockBody"] == 0


def test_a_served_body_brings_its_proof_along() -> None:
    net = Net()
    holder, fresh = net.node("holder", finalizes=True), net.node("fresh", finalizes=True)
    holder.chain.grow(branch(GENESIS, 200), proven=True)
    net.link(holder, fresh)
    net.run(lambda: fresh.chain.final_height == 200)
    assert len(fresh.chain.proofs) == 200


def test_a_node_that_catches_up_announces_nothing_until_it_has() -> None:
    net = Net()
    holder, fresh = net.node("holder"), net.node("fresh")
    holder.chain.grow(branch(GENESIS, 500))
    told: list[int] = []

    def watch(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if isinstance(message, AnnounceBlock):
            told.append(message.head.height)
        return [message]

    net.tampers[fresh.key] = watch
    other = net.node("other")
    net.link(fresh, other)
    net.link(fresh, holder)
    net.run(lambda: fresh.chain.height(fresh.chain.head()) == 500)
    net.run(lambda: heads_agree(net), limit_ms=15_000)
    assert all(height > 490 for height in told)


def test_status_is_told_at_once_and_then_seldom() -> None:
    net = Net()
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    net.run(limit_ms=60_000)
    assert 10 <= net.sent["Status"] <= 14
    net.send(right.key, left.key, Status(GENESIS.id, 5, 6, b""))
    net.run(limit_ms=50)
    assert left.reported[right.key] == ["invalid-status"]


def test_an_old_finality_proof_is_no_news() -> None:
    net = Net()
    left, right = net.node("left", finalizes=True), net.node("right", finalizes=True)
    blocks = branch(GENESIS, 3)
    left.chain.grow(blocks, proven=True)
    net.link(left, right)
    actions = left.sync.on_finality_proof(
        right.key, FinalityProof(blocks[1].id, proof_of(blocks[1])), 0
    )
    assert actions == []


class Chaos:
    """Drops, doubles and delays what honest nodes say, until it is told to stop."""

    def __init__(self, rng: random.Random, loss: float) -> None:
        self.rng = rng
        self.loss = loss

    def __call__(self, sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        draw = self.rng.random()
        if draw < self.loss:
            return []
        return [message, message] if draw > 1 - self.loss / 2 else [message]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0.0, 0.6),
    finalizes=st.booleans(),
    lengths=st.lists(st.integers(1, 150), min_size=2, max_size=4),
)
def test_loss_order_and_duplication_never_break_sync(
    seed: int, loss: float, finalizes: bool, lengths: list[int]
) -> None:
    """Whatever the links did, after they heal all nodes come to one head."""
    net = Net(seed=seed)
    stem = branch(GENESIS, 60)
    net.jitter_ms = 300
    nodes = []
    for index, length in enumerate(lengths):
        chain = FakeChain(finalizes)
        if finalizes:
            chain.grow(branch(GENESIS, length), proven=True)
        else:
            chain.grow([*stem, *branch(stem[-1], length, index)])
        nodes.append(net.node(f"node-{index}", chain))
    chaos = Chaos(net.rng, loss)
    for node in nodes:
        net.tampers[node.key] = chaos
    mesh(net, nodes)
    for _ in range(6):
        net.run(limit_ms=1_000)
        left, right = net.rng.sample(nodes, 2)
        net.unlink(left, right)
        if net.rng.random() < 0.5:
            net.link(left, right)
        if not finalizes:
            nodes[net.rng.randrange(len(nodes))].mine(nonce=net.rng.randrange(3))
    net.tampers.clear()
    net.jitter_ms = 0
    for index, left in enumerate(nodes):  # heal: fresh links, as after a reconnection
        for right in nodes[:index]:
            net.unlink(left, right)
            net.link(left, right)
    best = max(node.chain.weight(node.chain.head()) for node in nodes)
    net.run(
        lambda: all(node.chain.weight(node.chain.head()) >= best for node in nodes),
        limit_ms=200_000,
    )
    net.run(lambda: not any(node.sync.syncing for node in nodes), limit_ms=60_000)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_message_at_any_time_is_borne(seed: int) -> None:
    """Messages that answer nothing, about blocks known, unknown, bad and out of order."""
    rng = random.Random(seed)
    net = Net(seed=seed)
    victim = net.node("victim", finalizes=rng.random() < 0.5)
    villain = net.node("villain", finalizes=victim.chain.finalizes)
    net.link(victim, villain)
    pool = [*branch(GENESIS, 20), *branch(GENESIS, 20, 1)]
    for _ in range(150):
        block = rng.choice(pool)
        start = rng.randrange(20)
        run = tuple(b.head for b in pool[start : start + rng.randrange(15)])
        message: PeerMessage = rng.choice(
            [
                AnnounceBlock(block.head, rng.random() < 0.5),
                BlockBody(block, proof_of(block) if rng.random() < 0.5 else None),
                Heads(run),
                FinalityProof(block.id, proof_of(block)),
                Status(block.id, rng.randrange(50), 0, bytes([rng.randrange(255)])),
            ]
        )
        net.send(villain.key, victim.key, message)
        if rng.random() < 0.2:
            victim.do(victim.sync.want([block.id], villain.key, net.now_ms))
        net.run(limit_ms=rng.choice([50, 50, 50, 50, 50, 3_000]))
    net.unlink(victim, villain)
    honest = net.node("honest", finalizes=victim.chain.finalizes)
    honest.chain.main = list(victim.chain.main)
    honest.chain.blocks = dict(victim.chain.blocks)
    honest.chain.weights = dict(victim.chain.weights)
    honest.chain.final_height = victim.chain.final_height
    honest.chain.grow(
        branch(honest.chain.blocks[honest.chain.head()], 40, 7), proven=victim.chain.finalizes
    )
    net.link(victim, honest)
    net.run(lambda: victim.chain.head() == honest.chain.head(), limit_ms=60_000)
    net.run(lambda: not victim.sync.syncing, limit_ms=20_000)
    assert sum(victim.sync.counts().values()) == 0 or net.run(
        lambda: sum(victim.sync.counts().values()) == 0, limit_ms=60_000
    )
