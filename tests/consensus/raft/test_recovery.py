"""A server that lost its disk and kept its key: it listens until it can do no harm."""

from __future__ import annotations

from dataclasses import replace

from consensus.contract import Persist
from consensus.raft import PROTOCOL
from consensus.raft.messages import (
    Committed,
    ReadIndex,
    ReadIndexReply,
    TermReply,
    TermRequest,
    VoteReply,
)
from consensus.raft.record import parse_record
from tests.support.engine_cluster import Cluster, Disk, Node
from tests.support.raft_bench import QUIET_MS, Bench


def wipe(cluster: Cluster, node: Node) -> None:
    """A new disk: neither record nor blocks."""
    node.crash()
    genesis = cluster.genesis
    node.disk = Disk(None, {genesis.id: genesis}, genesis.id, genesis.id)


def test_it_asks_all_and_speaks_after_a_block_above_all_their_logs_is_final() -> None:
    bench = Bench(record=False)
    assert {len(bench.said(TermRequest, to)) for to in (1, 2)} == {1}
    blocks = [bench.genesis]
    for _ in range(4):
        blocks.append(bench.block(blocks[-1], 4))

    def final(at: int) -> None:
        for block in blocks[1 : at + 1]:
            if not bench.node.tree.knows(block.id):
                bench.node.offer(block, "sync")
        bench.hear(1, Committed((bench.sign(1, bench.statement(1, 4, blocks[at])),)))

    final(2)
    assert bench.height == 2 and bench.done(Persist) == []
    bench.hear(1, TermReply(4, 3, False))
    final(3)
    assert bench.done(Persist) == [], "node 2 has not told yet"
    bench.hear(2, TermReply(6, 2, False))
    assert bench.done(Persist) == [], "node 1's log reached height 3: only what is above counts"
    final(4)
    record = parse_record(bench.node.disk.record or b"")
    assert (record.term, record.tip) == (6, blocks[4].id)
    bench.pass_(QUIET_MS)
    assert bench.ask(2, 6, blocks[4]) == VoteReply(6, False), "it may have voted in that term"
    assert bench.ask(2, 7, blocks[4]) == VoteReply(7, True)


def test_while_it_listens_it_serves_no_read_and_says_so_without_a_record() -> None:
    """It led before it lost its disk, and is asked as if it did still; meanwhile it learned what is
    final, so that its record would have to be written first."""
    bench = Bench(record=False)
    block = bench.block(bench.genesis, 4)
    bench.node.offer(block, "sync")
    bench.hear(1, Committed((bench.sign(1, bench.statement(1, 4, block)),)))
    assert bench.height == 1
    bench.hear(1, ReadIndex(4, 7))
    assert bench.said(ReadIndexReply, 1) == [ReadIndexReply(4, 7, None)]
    assert bench.done(Persist) == []


def test_two_that_lost_theirs_do_not_wait_for_each_other_for_ever() -> None:
    bench = Bench(n=5, record=False)
    bench.hear(1, TermReply(0, 0, True))
    for whole in (2, 3):
        bench.hear(whole, TermReply(3, 0, False))
    block = bench.block(bench.genesis, 3, producer=2)
    bench.node.offer(block, "sync")
    bench.hear(2, Committed((bench.sign(2, bench.statement(2, 3, block)),)))
    assert bench.done(Persist) == [], "node 4 may know of a vote"
    bench.hear(4, TermReply(5, 0, False))
    assert parse_record(bench.node.disk.record or b"").term == 5


def test_without_a_majority_of_whole_servers_it_listens_on() -> None:
    bench = Bench(n=3, record=False)
    bench.hear(1, TermReply(0, 0, True))
    bench.hear(2, TermReply(3, 0, False))
    block = bench.block(bench.genesis, 3, producer=2)
    bench.node.offer(block, "sync")
    bench.hear(2, Committed((bench.sign(2, bench.statement(2, 3, block)),)))
    assert bench.height == 1 and bench.done(Persist) == []
    why = " ".join(bench.engine.status(bench.node.tree, bench.node.now()).why)
    assert "record of this node's term and vote was lost" in why


def test_a_lone_server_that_lost_its_record_says_that_nobody_can_help() -> None:
    bench = Bench(n=1, record=False)
    bench.pass_(10_000)
    assert bench.role == "follower" and bench.done(Persist) == []
    status = bench.engine.status(bench.node.tree, bench.node.now())
    assert status.listening and "Restore its database from a backup" in status.why[0]


def test_one_of_two_listens_until_it_is_given_the_others_database() -> None:
    """Nothing becomes final without it, so no block above what they spoke of ever does. But every
    decision needed both, so the other one's record and log are all that there is to know."""
    cluster = Cluster(PROTOCOL, 2, seed=3, background_sync_ms=200)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    lost, other = cluster.nodes
    wipe(cluster, lost)
    cluster.restart(lost.number)
    cluster.submit()
    cluster.run_for(10_000)
    assert lost.disk.record is None
    status = lost.engine.status(lost.tree, lost.now())
    assert status.listening and "copy its database" in status.why[0]
    height = other.finalized_height
    for node in cluster.nodes:
        node.crash()
    lost.disk = replace(other.disk, bodies=dict(other.disk.bodies))
    for node in cluster.nodes:
        cluster.restart(node.number)
    cluster.run_until(lambda: min(cluster.heights()) > height, 5_000)
    assert not lost.engine.status(lost.tree, lost.now()).listening


def test_a_strangers_word_about_terms_does_not_count() -> None:
    bench = Bench(n=3, observers=1, record=False)
    bench.hear(3, TermReply(9, 50, False))
    assert bench.engine._told == {}


def test_a_wiped_follower_is_whole_again_while_the_others_go_on() -> None:
    cluster = Cluster(PROTOCOL, 3, seed=3, background_sync_ms=200)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    node = next(one for one in cluster.nodes if one.engine._role != "leader")
    wipe(cluster, node)
    cluster.restart(node.number)
    for _ in range(6):
        cluster.submit()
        cluster.run_for(400)
    cluster.run_until(lambda: node.disk.record is not None, 5_000)
    other = next(one for one in cluster.nodes if one is not node and one.engine._role != "leader")
    other.crash()
    height = node.finalized_height
    cluster.submit()
    cluster.run_until(lambda: node.finalized_height > height, 5_000)
