"""Power cuts between any two effects, for both engines: no word is broken, the chain goes on."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.contract import EngineProtocol, Message, NodeId
from consensus.multipaxos import PROTOCOL as MULTIPAXOS
from consensus.multipaxos import MultiPaxosParameters
from consensus.paxos import PROTOCOL as PAXOS
from consensus.paxos import PaxosParameters
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import Accept, Accepted, Promise
from tests.support.engine_cluster import Cluster, Node

ENGINES: list[tuple[EngineProtocol, Any]] = [
    (PAXOS, PaxosParameters(retry_ms=200, retry_ms_max=1_600)),
    (
        MULTIPAXOS,
        MultiPaxosParameters(lease_ms=400, renew_ms=80, election_ms=150, election_ms_max=1_200),
    ),
]
both = pytest.mark.parametrize(("protocol", "parameters"), ENGINES, ids=["paxos", "multipaxos"])


class Words:
    """What was said over all lives of all nodes, held against Paxos Made Simple, section 2.2."""

    def __init__(self, cluster: Cluster, *, for_all_heights: bool) -> None:
        self._for_all_heights = for_all_heights
        self._promised: dict[tuple[NodeId, int], Ballot] = {}
        self._votes: dict[tuple[NodeId, int], Accepted] = {}
        self._asked: dict[tuple[int, Ballot], bytes] = {}
        cluster.drop = self._hear

    def _hear(self, source: Node, target: Node, message: Message) -> bool:
        """Called for each message that leaves a node; drops none."""
        match message:
            case Promise():
                place = self._place(source, message.height)
                promised = self._promised.setdefault(place, message.ballot)
                assert message.ballot >= promised
                self._promised[place] = message.ballot
                vote = self._votes.get((source.address, message.height))
                shown = message.accepted
                assert vote is None or (shown is not None and shown.ballot >= vote.ballot)
            case Accepted():
                place = self._place(source, message.height)
                vote = self._votes.get((source.address, message.height))
                if vote is None or vote.ballot < message.ballot:
                    assert message.ballot >= self._promised.get(place, message.ballot)
                    self._votes[(source.address, message.height)] = message
            case Accept():
                asked = (message.height, message.ballot)
                assert self._asked.setdefault(asked, message.block_id) == message.block_id
        return False

    def _place(self, node: Node, height: int) -> tuple[NodeId, int]:
        return (node.address, 0 if self._for_all_heights else height)


def _story(
    protocol: EngineProtocol, parameters: Any, n: int, number: int, crash_at: int | None
) -> tuple[Cluster, int]:
    """A block, another one; the node crashes once, comes back; then a third block everywhere.

    Also says how many effects the node had done after the second block.
    """
    cluster = Cluster(protocol, n, seed=7, parameters=parameters)
    Words(cluster, for_all_heights=protocol is MULTIPAXOS)
    cluster.nodes[number].crash_at_effect = crash_at
    cluster.start()
    for _ in range(2):
        cluster.submit()
        cluster.run_for(700)
    node = cluster.nodes[number]
    node.crash_at_effect, effects_done = None, node.effects_done
    if not node.up:
        cluster.restart(number)
    goal = max(cluster.heights()) + 1
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= goal, limit_ms=30_000)
    return cluster, effects_done


@both
@pytest.mark.parametrize(("n", "number"), [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)])
def test_crash_after_each_effect(
    protocol: EngineProtocol, parameters: Any, n: int, number: int
) -> None:
    """A lone node, and each of three: proposer or leader, acceptor, learner, at every effect."""
    _, count = _story(protocol, parameters, n, number, None)
    assert count >= 12
    for crash_at in range(count):
        cluster, _ = _story(protocol, parameters, n, number, crash_at)
        assert cluster.nodes[number].life == 2, f"effect {crash_at} was never reached"
        assert not [report for node in cluster.nodes for report in node.reports]


@both
@pytest.mark.parametrize("seed", range(20))
def test_whole_cluster_is_killed_at_random_moments(
    protocol: EngineProtocol, parameters: Any, seed: int
) -> None:
    """kill -9 of all, five times, in the midst of rounds; restarts in any order."""
    cluster = Cluster(protocol, 3, seed=seed, parameters=parameters)
    Words(cluster, for_all_heights=protocol is MULTIPAXOS)
    rng = cluster.rng
    cluster.start()
    for _ in range(5):
        cluster.submit()
        for node in cluster.nodes:
            node.crash_at_effect = node.effects_done + rng.randint(0, 30)
        cluster.run_for(rng.randint(0, 1_200))
        for node in cluster.nodes:
            node.crash_at_effect = None
            if node.up:
                node.crash()
        for number in rng.sample(range(3), 3):
            cluster.restart(number)
    goal = max(cluster.final) + 1
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= goal, limit_ms=30_000)


@both
def test_a_vote_survives_the_crash_that_followed_it(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """Every acceptance is lost on its way, everybody is killed: the block comes back, the same."""
    cluster = Cluster(protocol, 3, seed=2, parameters=parameters, background_sync_ms=None)
    cluster.drop = lambda source, target, message: (
        isinstance(message, Accepted) and source is not target
    )
    cluster.start()
    cluster.submit(1, [0, 1, 2])
    votes = [node.engine for node in cluster.nodes]
    cluster.run_until(lambda: all(one._acceptor.accepted is not None for one in votes), 5_000)
    (chosen,) = {one._acceptor.accepted.block_id for one in votes}
    assert cluster.heights() == [0, 0, 0]
    for node in cluster.nodes:
        node.crash()
        node.pool.clear()
    cluster.heal()
    for number in (2, 0, 1):
        cluster.restart(number)
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 10_000)
    assert cluster.final[1] == chosen


@both
def test_finality_implied_by_the_record_is_restated(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """Law 8: Finalize was lost, the next vote's record was not: the start finalizes again."""
    cluster = Cluster(protocol, 3, parameters=parameters, background_sync_ms=None)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, limit_ms=3_000)
    node = cluster.nodes[2]
    cluster.submit()
    cluster.run_until(lambda: node.engine._acceptor.accepted is not None, limit_ms=3_000)
    node.crash()
    node.disk.finalized = node.disk.finalized_unsynced = cluster.genesis.id
    node.start()
    node.run()
    assert node.finalized_height == 1
    assert node.engine._height == 2
    assert node.engine._acceptor.accepted is not None
    cluster.run_until(lambda: min(cluster.heights()) >= 2, limit_ms=5_000)


@both
def test_a_node_ahead_of_its_own_chain_says_nothing_until_it_is_replayed(
    protocol: EngineProtocol, parameters: Any
) -> None:
    """Its record is of height 3, its disk lost the finality of 1 and 2: it keeps that record."""
    cluster = Cluster(protocol, 3, seed=3, parameters=parameters, background_sync_ms=None)
    cluster.start()
    for height in (1, 2):
        cluster.submit()
        cluster.run_until(lambda height=height: min(cluster.heights()) >= height, 3_000)  # type: ignore[misc]
    node = cluster.nodes[1]
    cluster.submit()
    cluster.run_until(lambda: node.engine._acceptor.accepted is not None, limit_ms=3_000)
    vote = node.engine._acceptor.accepted
    node.crash()
    genesis = cluster.genesis
    node.disk.bodies = {genesis.id: genesis}
    node.disk.finalized = node.disk.finalized_unsynced = genesis.id
    node.start()
    node.run()
    assert not node.engine._can_speak
    status = node.engine.status(node.tree, node.now())
    assert "re-executes" in status.why[0]
    node.copy_branch(cluster.nodes[0], cluster.nodes[0].tree.finalized())
    node.run()
    assert node.engine._height == 3
    assert node.engine._acceptor.accepted == vote
    cluster.run_until(lambda: min(cluster.heights()) >= 3, limit_ms=8_000)
