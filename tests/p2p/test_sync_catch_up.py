"""Catching up from several peers, some of them bad."""

from __future__ import annotations

import msgspec
import pytest

from chain.block import Block
from p2p.actions import Misbehaved, PeerKey, SendTo
from p2p.wire import (
    AnnounceBlock,
    BlockBody,
    GetBlocks,
    GetHeads,
    Heads,
    Hello,
    NoBlocks,
    PeerMessage,
    Status,
    encode_frame,
)
from tests.p2p.simnet import (
    BAD_HEAD,
    BAD_STATE,
    GENESIS,
    FakeChain,
    Net,
    Node,
    branch,
    make_block,
)

LONG = 5_000


def holders(net: Net, blocks: tuple[Block, ...], count: int, finalizes: bool = False) -> list[Node]:
    nodes = []
    for index in range(count):
        chain = FakeChain(finalizes)
        chain.grow(blocks, proven=finalizes)
        nodes.append(net.node(f"holder-{index}", chain))
    return nodes


def caught_up(node: Node, blocks: tuple[Block, ...]) -> bool:
    return node.chain.head() == blocks[-1].id


@pytest.mark.parametrize("finalizes", [False, True])
def test_a_fresh_node_catches_up_from_three_peers(finalizes: bool) -> None:
    net = Net()
    blocks = branch(GENESIS, LONG)
    peers = holders(net, blocks, 3, finalizes)
    fresh = net.node("fresh", finalizes=finalizes)
    for peer in peers:
        net.link(fresh, peer)
    assert fresh.sync.syncing
    net.run(lambda: caught_up(fresh, blocks) and not fresh.sync.syncing)
    assert fresh.syncing_changes == [True, False]
    assert fresh.reported == {}
    assert [block.id for block in fresh.delivered] == [block.id for block in blocks]
    assert set(fresh.bodies.values()) == {1}, "each body crosses the network once"
    shares = [
        sum(1 for (sender, to, _) in net.bodies_sent if sender == peer.key and to == fresh.key)
        for peer in peers
    ]
    assert min(shares) > LONG // 6, f"the load is spread: {shares}"
    assert sum(fresh.sync.counts().values()) == 0


def silent_on(*kinds: type[PeerMessage]):
    """A peer that never sends messages of these types."""

    def tamper(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        return [] if isinstance(message, kinds) else [message]

    return tamper


def raised_hello(height: int):
    def change(hello: Hello) -> Hello:
        return msgspec.structs.replace(hello, height=height, finalized_height=height)

    return change


def boast(height: int):
    """A peer that claims a height far above what it serves."""

    def tamper(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if isinstance(message, Status):
            raised = msgspec.structs.replace(
                message,
                head=bytes([7]) * 32,
                height=height,
                finalized_height=height,
                weight=b"\xff" * 8,
            )
            return [raised]
        return [message]

    return tamper


@pytest.mark.parametrize("finalizes", [False, True])
def test_a_peer_that_owes_bodies_for_ever_is_passed_over_and_reported(finalizes: bool) -> None:
    net = Net()
    blocks = branch(GENESIS, LONG)
    peers = holders(net, blocks, 3, finalizes)
    net.tampers[peers[0].key] = silent_on(BlockBody)
    fresh = net.node("fresh", finalizes=finalizes)
    for peer in peers:
        net.link(fresh, peer)
    took_ms = net.run(lambda: caught_up(fresh, blocks))
    assert took_ms < 30_000
    net.run(limit_ms=40_000)
    assert not fresh.sync.syncing
    assert set(fresh.reported) <= {peers[0].key}
    assert set(fresh.bodies.values()) == {1}


def test_a_lone_peer_that_owes_bodies_for_ever_is_reported_as_stalling() -> None:
    net = Net()
    peer = holders(net, branch(GENESIS, 100), 1)[0]
    net.tampers[peer.key] = silent_on(BlockBody)
    fresh = net.node("fresh")
    net.link(fresh, peer)
    net.run(lambda: "stalling" in fresh.reported[peer.key])
    net.run(lambda: not fresh.sync.syncing, limit_ms=20_000)


def test_a_peer_that_answers_no_header_request_is_passed_over() -> None:
    net = Net()
    blocks = branch(GENESIS, 1_000)
    peers = holders(net, blocks, 2)
    net.tampers[peers[0].key] = silent_on(Heads)
    fresh = net.node("fresh")
    for peer in peers:
        net.link(fresh, peer)
    assert net.run(lambda: caught_up(fresh, blocks)) < 20_000
    assert peers[1].key not in fresh.reported


@pytest.mark.parametrize("finalizes", [False, True])
def test_a_peer_that_lies_about_its_height_cannot_keep_a_node_syncing(finalizes: bool) -> None:
    """CometBFT CVE-2025-24371: a claim that is never kept must not hold sync open."""
    net = Net()
    blocks = branch(GENESIS, 1_000)
    peers = holders(net, blocks, 3, finalizes)
    liar = peers[0]
    net.hellos[liar.key] = raised_hello(1_000_000)
    net.tampers[liar.key] = boast(1_000_000)
    fresh = net.node("fresh", finalizes=finalizes)
    for peer in peers:
        net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, blocks) and not fresh.sync.syncing, limit_ms=20_000)
    syncing_ms = 0
    for _ in range(240):
        net.run(limit_ms=1_000)
        syncing_ms += 1_000 if fresh.sync.syncing else 0
    assert syncing_ms < 10_000
    assert "false-claim" in fresh.reported[liar.key]
    assert not any(fresh.reported[peer.key] for peer in peers[1:])


def test_a_claim_that_is_not_shown_is_forgotten_with_the_first_answer() -> None:
    net = Net()
    blocks = branch(GENESIS, 2)
    boaster = holders(net, blocks, 1)[0]
    net.hellos[boaster.key] = raised_hello(1_000_000)
    net.tampers[boaster.key] = silent_on(Status)
    fresh = net.node("fresh")
    net.link(fresh, boaster)
    assert fresh.sync.syncing and fresh.sync.progress().target == 1_000_000
    net.run(limit_ms=300)
    assert caught_up(fresh, blocks)
    assert not fresh.sync.syncing and fresh.sync.progress().target == 2
    assert fresh.reported == {}, "once may be a reorganisation"


def test_a_liar_as_the_only_peer_ends_sync_within_the_bound() -> None:
    net = Net()
    liar = holders(net, branch(GENESIS, 1), 1)[0]
    net.hellos[liar.key] = raised_hello(1_000_000)
    net.tampers[liar.key] = silent_on(Heads, Status, BlockBody)
    fresh = net.node("fresh")
    net.link(fresh, liar)
    assert fresh.sync.syncing
    net.run(lambda: not fresh.sync.syncing, limit_ms=16_000)


def test_no_peers_is_not_syncing() -> None:
    net = Net()
    fresh = net.node("fresh")
    net.run(limit_ms=5_000)
    assert not fresh.sync.syncing and fresh.syncing_changes == []
    assert fresh.sync.progress().target == 0


def test_bodies_that_do_not_fit_their_header_cost_the_sender_and_not_the_block() -> None:
    """CVE-2012-2459's lesson: garbage under a good id must not mark the id as bad."""
    net = Net()
    blocks = branch(GENESIS, 600)
    peers = holders(net, blocks, 3)

    def garble(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if not isinstance(message, BlockBody):
            return [message]
        other = msgspec.structs.replace(message.block.manifest, reward=1)
        return [BlockBody(msgspec.structs.replace(message.block, manifest=other), None)]

    net.tampers[peers[0].key] = garble
    fresh = net.node("fresh")
    for peer in peers:
        net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, blocks))
    assert "bad-merkle-root" in fresh.reported[peers[0].key]
    assert not any(fresh.reported[peer.key] for peer in peers[1:])


def test_a_foreign_seal_on_a_body_is_replaced_by_the_judged_one() -> None:
    net = Net()
    blocks = branch(GENESIS, 20)
    peer = holders(net, blocks, 1)[0]

    def reseal(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if not isinstance(message, BlockBody):
            return [message]
        return [BlockBody(msgspec.structs.replace(message.block, seal=b"forged"), None)]

    net.tampers[peer.key] = reseal
    fresh = net.node("fresh")
    net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, blocks))
    assert {block.seal for block in fresh.delivered} == {b""}


def test_heads_that_break_the_rules_cost_the_sender_and_no_body_is_fetched() -> None:
    net = Net()
    good = branch(GENESIS, 300)
    bad = [*branch(GENESIS, 100, 1), make_block(branch(GENESIS, 100, 1)[-1], BAD_HEAD, 1)]
    bad += branch(bad[-1], 400, 1)
    peers = holders(net, good, 2)
    villain = net.node("villain")
    villain.chain.grow(bad)
    fresh = net.node("fresh")
    for peer in [villain, *peers]:
        net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, good))
    assert fresh.reported[villain.key] == ["bad-head"]
    assert not fresh.chain.knows(bad[0].id)
    net.run(lambda: not fresh.sync.syncing, limit_ms=20_000)


def test_a_chain_that_fails_execution_is_left_for_the_good_one() -> None:
    net = Net()
    good = branch(GENESIS, 300)
    rotten = [*branch(GENESIS, 100, 1), make_block(branch(GENESIS, 100, 1)[-1], BAD_STATE, 1)]
    rotten += branch(rotten[-1], 400, 1)
    peers = holders(net, good, 2)
    villain = net.node("villain")
    for block in rotten:  # it accepts its own blocks
        villain.chain.blocks[block.id] = block
        villain.chain.weights[block.id] = villain.chain.weights[block.previous] + 2
    villain.chain.move_head(rotten[-1].id)
    fresh = net.node("fresh")
    for peer in [villain, *peers]:
        net.link(fresh, peer)
    net.run(lambda: fresh.chain.knows(good[-1].id))
    assert not fresh.chain.knows(rotten[100].id)
    assert rotten[100].id in fresh.chain.refused
    net.run(lambda: not fresh.sync.syncing, limit_ms=20_000)
    later = peers[0].mine()
    net.run(lambda: fresh.chain.knows(later.id), limit_ms=2_000)


def test_a_peer_that_leaves_midway_costs_no_block() -> None:
    net = Net()
    blocks = branch(GENESIS, LONG)
    peers = holders(net, blocks, 3)
    fresh = net.node("fresh")
    for peer in peers:
        net.link(fresh, peer)
    for peer in peers[:2]:
        net.run(lambda: len(fresh.chain.main) > 500)
        net.unlink(fresh, peer)
    net.run(lambda: caught_up(fresh, blocks) and not fresh.sync.syncing)
    assert fresh.reported == {}


def test_forged_chain_that_claims_finality_without_proofs_is_left() -> None:
    """Where heads carry no seals, anyone can make a long chain; finality tells them apart."""
    net = Net()
    good, forged = branch(GENESIS, 1_500), branch(GENESIS, LONG, 1)
    peers = holders(net, good, 2, finalizes=True)
    villain = net.node("villain", finalizes=True)
    villain.chain.grow(forged)
    villain.chain.final_height = LONG
    fresh = net.node("fresh", finalizes=True)
    for peer in [villain, *peers]:
        net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, good))
    assert fresh.reported[villain.key] == ["false-claim"]
    assert not fresh.chain.knows(forged[1_500].id)


def test_a_branch_below_the_finalized_block_is_refused() -> None:
    net = Net()
    good, other = branch(GENESIS, 50), branch(GENESIS, 90, 1)
    ours = net.node("ours", finalizes=True)
    ours.chain.grow(good, proven=True)
    villain = net.node("villain", finalizes=True)
    villain.chain.grow(other, proven=True)
    net.link(ours, villain)
    net.run(limit_ms=10_000)
    assert "conflicts-with-final" in ours.reported[villain.key]
    assert caught_up(ours, good) and not ours.sync.syncing


def test_pruned_bodies_are_had_from_somebody_else() -> None:
    net = Net()
    blocks = branch(GENESIS, 800)
    peers = holders(net, blocks, 2)
    peers[0].chain.pruned_below = 500
    fresh = net.node("fresh")
    for peer in peers:
        net.link(fresh, peer)
    assert net.run(lambda: caught_up(fresh, blocks)) < 30_000
    assert fresh.reported == {}


def test_bodies_that_nobody_has_end_sync() -> None:
    net = Net()
    blocks = branch(GENESIS, 800)
    peer = holders(net, blocks, 1)[0]
    peer.chain.pruned_below = 500
    fresh = net.node("fresh")
    net.link(fresh, peer)
    assert fresh.sync.syncing
    net.run(lambda: not fresh.sync.syncing, limit_ms=20_000)


def test_a_heavier_chain_that_nobody_can_serve_does_not_hide_a_lighter_one() -> None:
    net = Net()
    heavy, light = branch(GENESIS, 800, 1), branch(GENESIS, 300)
    pruned, full = net.node("pruned"), net.node("full")
    pruned.chain.grow(heavy)
    pruned.chain.pruned_below = 500
    full.chain.grow(light)
    fresh = net.node("fresh")
    net.link(fresh, pruned)
    net.run(limit_ms=500)
    net.link(fresh, full)
    net.run(lambda: caught_up(fresh, light), limit_ms=30_000)


def test_heads_ahead_of_the_clock_wait_for_their_time() -> None:
    net = Net()
    blocks = branch(GENESIS, 40)  # one a second: the clock stands at the first one's time
    peer = holders(net, blocks, 1)[0]
    fresh = net.node("fresh", FakeChain(wall_ms=net.wall_ms))
    net.link(fresh, peer)
    while net.now_ms < 45_000:
        net.run(limit_ms=500)
        assert fresh.chain.height(fresh.chain.head()) <= net.now_ms // 1_000
    net.run(lambda: caught_up(fresh, blocks), limit_ms=30_000)
    assert fresh.reported == {}


def test_heads_far_ahead_of_the_clock_hold_nobody_up() -> None:
    net = Net()
    far = [make_block(GENESIS, nonce=1, time_ms=10**12)]
    far += branch(far[0], 20, 1)
    good = branch(GENESIS, 15)
    net.now_ms = 60_000
    villain = net.node("villain")
    villain.chain.grow(far)
    peer = holders(net, good, 1)[0]
    fresh = net.node("fresh", FakeChain(wall_ms=net.wall_ms))
    net.link(fresh, villain)
    net.link(fresh, peer)
    net.run(lambda: caught_up(fresh, good), limit_ms=30_000)
    net.run(lambda: not fresh.sync.syncing, limit_ms=30_000)


def test_what_is_held_is_bounded_while_catching_up() -> None:
    net = Net(delay_ms=100)
    blocks = branch(GENESIS, LONG)
    peers = holders(net, blocks, 8)
    net.tampers[peers[0].key] = silent_on(BlockBody)
    fresh = net.node("fresh")
    for peer in peers:
        net.link(fresh, peer)
    most = dict.fromkeys(fresh.sync.counts(), 0)
    while not caught_up(fresh, blocks):
        net.run(limit_ms=50)
        for name, count in fresh.sync.counts().items():
            most[name] = max(most[name], count)
        assert net.now_ms < 60_000
    assert most["path"] <= 2_000
    assert most["asked"] <= 128
    assert most["held"] <= 128
    assert most["delivered"] <= 64


def test_delivered_blocks_wait_for_the_importer() -> None:
    """Backpressure: a slow importer is handed a bounded number of blocks."""
    net = Net()
    blocks = branch(GENESIS, 300)
    peer = holders(net, blocks, 1)[0]
    fresh = net.node("fresh")
    waiting: list[Block] = []
    fresh.take = lambda block, proof: waiting.append(block)  # type: ignore[method-assign]
    net.link(fresh, peer)
    net.run(limit_ms=3_000)
    assert [block.id for block in waiting] == [block.id for block in blocks[:32]]
    while not caught_up(fresh, blocks):
        if waiting:
            Node.take(fresh, waiting.pop(0), None)
        else:
            net.run(limit_ms=50)
        assert len(waiting) <= 32 and net.now_ms < 30_000
    assert fresh.reported == {}


def test_a_trickling_peer_does_not_hold_the_window_up() -> None:
    """One body each 1.5 s is no stall, but the body that all wait for goes to somebody else."""
    net = Net()
    blocks = branch(GENESIS, 400)
    trickler, brisk = holders(net, blocks, 2)
    late: list[tuple[PeerKey, PeerMessage]] = []

    def trickle(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if not isinstance(message, BlockBody):
            return [message]
        late.append((to, message))
        return []

    net.tampers[trickler.key] = trickle
    fresh = net.node("fresh")
    net.link(fresh, trickler)
    net.link(fresh, brisk)
    while not caught_up(fresh, blocks):
        net.run(limit_ms=1_500)
        if late:
            to, message = late.pop(0)
            del net.tampers[trickler.key]
            net.send(trickler.key, to, message)
            net.tampers[trickler.key] = trickle
        assert net.now_ms < 30_000
    assert fresh.reported == {}


def test_unasked_heads_and_bodies_are_misbehaviour() -> None:
    net = Net()
    block = branch(GENESIS, 1)[0]
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    net.send(right.key, left.key, Heads((block.head,)))
    net.send(right.key, left.key, BlockBody(block, None))
    net.send(right.key, left.key, NoBlocks((block.id,)))
    net.run(limit_ms=100)
    assert left.reported[right.key] == ["unsolicited-heads", "unsolicited-block"]
    assert not left.chain.knows(block.id)


def test_a_flood_of_requests_is_cut_off() -> None:
    net = Net()
    peer = holders(net, branch(GENESIS, 10), 1)[0]
    left = net.node("left")
    net.link(left, peer)
    net.run(lambda: caught_up(left, branch(GENESIS, 10)))
    big = GetBlocks(tuple(bytes([n]) * 32 for n in range(64)))
    peer.sync._peers[left.key].burst_bytes = 10**9  # its burst is spent
    for _ in range(3):
        net.send(left.key, peer.key, big)
    net.run(limit_ms=40)
    assert peer.reported[left.key] == ["too-many-requests"]


def test_an_announced_head_that_breaks_the_rules_is_misbehaviour() -> None:
    net = Net()
    left, right = net.node("left"), net.node("right")
    net.link(left, right)
    bad = make_block(GENESIS, BAD_HEAD)
    high = msgspec.structs.replace(GENESIS.manifest, height=9)
    net.send(right.key, left.key, AnnounceBlock(bad.head, False))
    torn = msgspec.structs.replace(branch(GENESIS, 1)[0].head, manifest=high)
    net.run(limit_ms=100)
    assert left.reported[right.key] == ["bad-head"]
    net.run(limit_ms=61_000)
    net.send(right.key, left.key, AnnounceBlock(torn, False))
    net.run(limit_ms=100)
    assert left.reported[right.key] == ["bad-head", "manifest-not-in-block"]


def test_an_answer_of_large_heads_is_cut_and_header_requests_are_counted() -> None:
    chain = FakeChain()
    parent, blocks = GENESIS, []
    for _ in range(200):
        parent = make_block(parent, b"c" * 60_000)
        blocks.append(parent)
    chain.grow(blocks)
    net = Net()
    server, client = net.node("server", chain), net.node("client")
    net.link(client, server)
    ask = GetHeads((GENESIS.id,), bytes(32), 500)
    first = server.sync.on_get_heads(client.key, ask, 10)[0]
    assert isinstance(first, SendTo) and isinstance(first.message, Heads)
    assert 0 < len(encode_frame(first.message)) < Heads.size_max
    answers = [server.sync.on_get_heads(client.key, ask, 10) for _ in range(60)]
    assert answers[0] != [Misbehaved(client.key, "too-many-requests")]
    assert answers[-1] == [Misbehaved(client.key, "too-many-requests")]
    later = server.sync.on_get_heads(client.key, ask, 5_000)
    assert isinstance(later[0], SendTo)
    net.run(lambda: caught_up(client, tuple(blocks)), limit_ms=20_000)


def test_bodies_are_served_in_bursts() -> None:
    chain = FakeChain()
    parent, blocks = GENESIS, []
    for _ in range(64):
        parent = make_block(parent, b"c" * 65_000)
        blocks.append(parent)
    chain.grow(blocks)
    net = Net()
    server, client = net.node("server", chain), net.node("client")
    net.link(client, server)
    ask = GetBlocks(tuple(block.id for block in blocks))
    served = server.sync.on_get_blocks(client.key, ask, 10)
    served += server.sync.on_get_blocks(client.key, ask, 10)
    assert len(served) == 65, "4 MB of bodies of 65 kB: a burst ends with the body that fills it"
    assert len(server.sync.tick(50)) >= 60


def test_heads_whose_manifest_is_not_in_their_block_are_refused() -> None:
    net = Net()
    blocks = branch(GENESIS, 50)
    forger, honest = holders(net, blocks, 2)

    def forge(sender: PeerKey, to: PeerKey, message: PeerMessage) -> list[PeerMessage]:
        if not isinstance(message, Heads):
            return [message]
        manifest = msgspec.structs.replace(message.heads[-1].manifest, reward=10**9)
        torn = msgspec.structs.replace(message.heads[-1], manifest=manifest)
        return [Heads((*message.heads[:-1], torn))]

    net.tampers[forger.key] = forge
    fresh = net.node("fresh")
    net.link(fresh, forger)
    net.run(limit_ms=200)
    assert fresh.reported[forger.key] == ["manifest-not-in-block"]
    net.link(fresh, honest)
    net.run(lambda: caught_up(fresh, blocks), limit_ms=5_000)
