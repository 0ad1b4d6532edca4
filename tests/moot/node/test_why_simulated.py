"""A member that may only listen is told so in any case, whatever the engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moot.lab.cluster import Cluster
from moot.node.why import explain


@pytest.mark.parametrize(
    ("engine", "nodes"), [("pbft", 4), ("paxos", 3), ("multipaxos", 3), ("raft", 3)]
)
def test_a_member_that_lost_its_record_says_so_until_it_votes_again(
    engine: str, nodes: int
) -> None:
    cluster = Cluster(engine, nodes, 1)
    cluster.start()
    cluster.load(300)
    cluster.run(2_000)
    node = cluster.nodes[-1]
    node.crash()
    node.wipe()
    node.start()

    def said() -> bool:
        healthy, sentences = explain(node.running, node.world.now_ms)
        return not healthy and any("was lost" in each for each in sentences)

    def within(milliseconds: int, goal: Callable[[], bool]) -> bool:
        return cluster.world.run_until(cluster.world.now_ms + milliseconds, goal)

    assert within(5_000, said), cluster.explain()
    assert within(60_000, lambda: not node.running.engine_status().listening), cluster.explain()
    assert not said()
