"""Random adversity from fixed seeds, and a power cut after every single effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.raft import PROTOCOL, RaftParameters
from tests.support.campaigns import run_campaign
from tests.support.engine_cluster import Cluster, Node

PATIENT = RaftParameters(election_ms_min=400, election_ms_max=800, heartbeat_ms=100)
"""For links of up to 80 ms."""


def campaign(seed: int, n: int, *, sync: bool = True) -> Cluster:
    return run_campaign(
        seed,
        n,
        protocol=PROTOCOL,
        parameters=PATIENT,
        background_sync_ms=1_000 if sync else None,
    )


@pytest.mark.parametrize("seed", range(8))
def test_safe_always_and_live_once_it_heals(seed: int) -> None:
    campaign(seed, 3 + seed % 3)


@pytest.mark.parametrize("seed", range(4))
def test_the_log_heals_without_any_help_of_sync(seed: int) -> None:
    campaign(100 + seed, 3 + 2 * (seed % 2), sync=False)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_many_seeds(n: int) -> None:
    for seed in range(1_000 * n, 1_000 * n + 60):
        campaign(seed, n, sync=seed % 3 > 0)


# ------------------------------------------------------------------------------ every power cut


def _life(pick: Callable[[Cluster], Node], at: int) -> bool:
    """A cluster at work in which one server dies before its effect number ``at``; False: it did
    fewer. It starts again, and all must go on with one chain."""
    cluster = Cluster(PROTOCOL, 3, seed=5, background_sync_ms=None)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    node = pick(cluster)
    node.crash_at_effect = node.effects_done + at
    cluster.submit()
    cluster.run_for(60)
    died = not node.up
    if died:
        cluster.run_for(700)
        cluster.restart(node.number)
    else:
        node.crash_at_effect = None
    cluster.submit()
    top = max(cluster.heights())
    cluster.run_until(lambda: min(cluster.heights()) > top, 10_000)
    return died


def _leader(cluster: Cluster) -> Node:
    return next(node for node in cluster.nodes if node.engine._role == "leader")


def _follower(cluster: Cluster) -> Node:
    return next(node for node in cluster.nodes if node.engine._role != "leader")


@pytest.mark.parametrize("pick", [_leader, _follower], ids=["leader", "follower"])
def test_a_power_cut_after_any_effect_loses_nothing(pick: Callable[[Cluster], Node]) -> None:
    died = [_life(pick, at) for at in range(16)]
    assert sum(died) > 5, "the cuts fall within the block's way"


@pytest.mark.parametrize("at", range(10))
def test_a_candidate_dies_at_any_effect_and_votes_once_in_a_term(at: int) -> None:
    cluster = Cluster(PROTOCOL, 3, seed=at, background_sync_ms=None)
    cluster.start()
    for node in cluster.nodes:
        node.crash_at_effect = node.effects_done + 1 + at
    cluster.run_for(1_500)
    for node in cluster.nodes:
        node.crash_at_effect = None
        if not node.up:
            cluster.restart(node.number)
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 10_000)


def cluster_is_open(cluster: Cluster) -> Callable[[], bool]:
    return lambda: cluster.heights()[0] >= 1


def test_a_lone_server_survives_a_cut_after_any_effect() -> None:
    for at in range(14):
        cluster = Cluster(PROTOCOL, 1, seed=at)
        cluster.start()
        node = cluster.nodes[0]
        node.crash_at_effect = at
        cluster.submit()
        cluster.run_for(1_000)
        if not node.up:
            cluster.restart(0)
        cluster.run_until(cluster_is_open(cluster), 5_000)
        top = cluster.heights()[0]
        cluster.submit()
        cluster.run_until(lambda c=cluster, h=top: c.heights()[0] > h, 5_000)  # type: ignore[misc]
