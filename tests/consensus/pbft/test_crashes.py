"""Power cuts between any two effects: nothing is signed twice, and the chain goes on."""

from __future__ import annotations

import pytest

from consensus.pbft import PROTOCOL, PbftParameters
from tests.support.engine_cluster import Cluster

QUICK = PbftParameters(view_timeout_ms=400, view_timeout_ms_max=1_600)


def _story(n: int, number: int, crash_at: int | None, *, dead_primary: bool) -> tuple[Cluster, int]:
    """A block, another one; the node crashes once, comes back; then a third block everywhere.

    Also says how many effects the node had done after the second block.
    """
    cluster = Cluster(PROTOCOL, n, seed=7, parameters=QUICK)
    if dead_primary:
        # The first view fails, so that the story has a view change in it.
        cluster.drop = lambda source, target, message: (
            source.number == 0 and source.number != number and cluster.now_ms < 900
        )
    cluster.nodes[number].crash_at_effect = crash_at
    cluster.start()
    for _ in range(2):
        cluster.submit()
        cluster.run_for(1_200)
    node = cluster.nodes[number]
    node.crash_at_effect, effects_done = None, node.effects_done
    if not node.up:
        cluster.restart(number)
    goal = max(cluster.heights()) + 1
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= goal, limit_ms=30_000)
    return cluster, effects_done


@pytest.mark.parametrize(
    ("n", "number", "dead_primary"),
    [(1, 0, False), (2, 0, False), (4, 0, False), (4, 2, False), (4, 1, True), (4, 2, True)],
)
def test_crash_after_each_effect(n: int, number: int, dead_primary: bool) -> None:
    """A lone node, a primary, a backup, a new primary, a backup in a view change: each effect."""
    _, count = _story(n, number, None, dead_primary=dead_primary)
    assert count >= 12
    for crash_at in range(count):
        cluster, _ = _story(n, number, crash_at, dead_primary=dead_primary)
        assert cluster.nodes[number].life == 2, f"effect {crash_at} was never reached"
        assert not cluster.evidence()


@pytest.mark.parametrize("seed", range(40))
def test_whole_cluster_is_killed_at_random_moments(seed: int) -> None:
    """kill -9 of all, five times, in the midst of rounds; restarts in any order."""
    cluster = Cluster(PROTOCOL, 4, seed=seed, parameters=QUICK)
    rng = cluster.rng
    cluster.start()
    for _ in range(5):
        cluster.submit()
        for node in cluster.nodes:
            node.crash_at_effect = node.effects_done + rng.randint(0, 14)
        cluster.run_for(rng.randint(0, 600))
        for node in cluster.nodes:
            node.crash_at_effect = None
            if node.up:
                node.crash()
        for number in rng.sample(range(4), 4):
            cluster.restart(number)
    goal = max(cluster.final) + 1
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= goal, limit_ms=30_000)
    assert not cluster.evidence()


def test_a_vote_survives_the_crash_that_followed_it() -> None:
    """Bug B6, amnesia: a backup crashes right after its prepare and says the same again."""
    cluster = Cluster(PROTOCOL, 4, parameters=QUICK)
    cluster.start()
    cluster.submit()
    node = cluster.nodes[2]
    cluster.run_until(lambda: node.engine._record.prepare is not None, limit_ms=500)
    said = node.engine._record.prepare
    node.crash()
    cluster.restart(2)
    assert node.engine._record.prepare == said
    cluster.run_until(lambda: min(cluster.heights()) >= 1, limit_ms=10_000)


def test_finality_implied_by_the_record_is_restated() -> None:
    """Law 8: Finalize was lost, the next vote's record was not: the start finalizes again."""
    cluster = Cluster(PROTOCOL, 4, parameters=QUICK, background_sync_ms=None)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, limit_ms=2_000)
    cluster.submit()
    node = cluster.nodes[3]
    cluster.run_until(lambda: node.engine._record.prepare is not None, limit_ms=500)
    node.crash()
    node.disk.finalized = node.disk.finalized_unsynced = cluster.genesis.id
    cluster.nodes[3].start()
    cluster.nodes[3].run()
    assert node.finalized_height == 1
    assert node.engine._record.height == 2
    cluster.run_until(lambda: min(cluster.heights()) >= 2, limit_ms=5_000)
