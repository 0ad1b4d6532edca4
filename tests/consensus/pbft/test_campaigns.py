"""Random adversity with fixed seeds; see ``campaign``. Each seed repeats exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from consensus.contract import Effect
from consensus.pbft import PROTOCOL
from tests.consensus.pbft.campaign import QUICK, run_campaign
from tests.consensus.pbft.liars import LIARS, Said
from tests.support.engine_cluster import Cluster, Node

SIZES = (1, 2, 3, 4, 4, 5, 6, 7)
Liar = Callable[[Node, Effect], Said | None]


def lying_as(liar: Liar) -> Callable[[Node], None]:
    def corrupt(node: Node) -> None:
        node.rewrite = liar

    return corrupt


@pytest.mark.parametrize("seed", range(96))
def test_faults_never_break_agreement_and_healing_brings_progress(seed: int) -> None:
    """Loss, repetition, partitions, crashes at any effect: one chain, and it grows again."""
    cluster = run_campaign(seed, SIZES[seed % len(SIZES)])
    assert not cluster.evidence(), "no honest key ever contradicted itself"
    assert not [report for node in cluster.nodes for report in node.reports]


@pytest.mark.parametrize("seed", range(40))
def test_catching_up_needs_no_sync_service(seed: int) -> None:
    """Partitions and loss only, and nobody but the engines carries certificates."""
    run_campaign(seed, SIZES[seed % len(SIZES)], background_sync_ms=None, crashes=False)


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
@pytest.mark.parametrize("seed", range(10))
def test_f_liars_harm_nobody(liar: Liar, seed: int) -> None:
    """With f liars and all those faults: agreement, progress, and only liars are blamed."""
    cluster = run_campaign(seed, (4, 5, 7)[seed % 3], make_liar=lying_as(liar))
    liars = {node.address for node in cluster.nodes if not node.honest}
    for node in cluster.nodes:
        for report in node.reports:
            if report.peer is not None:
                assert report.peer in liars, f"an honest node was blamed: {report.reason}"
    rules = PROTOCOL.rules(QUICK)
    for evidence in cluster.evidence():
        assert rules.check_evidence(evidence, cluster.validators) in liars


@pytest.mark.parametrize("seed", range(24))
def test_twins(seed: int) -> None:
    """Bug B4: one key on two nodes, each with its own disk, under changing partitions.

    The twins never hear each other (an engine that hears its own contradiction stops); all others
    hear both. Two honest-looking halves of one liar must not split the rest.
    """
    cluster = Cluster(PROTOCOL, 4, seed=seed, observers=1, parameters=QUICK, loss=0.05)
    rng = cluster.rng
    first, second = cluster.nodes[seed % 4], cluster.nodes[4]
    second.address = first.address
    first.honest = second.honest = False
    cluster.start()
    for _ in range(15):
        cut = rng.randint(1, 4)
        order = rng.sample(range(5), 5)
        cluster.partition(order[:cut], order[cut:])
        cluster.blocked |= {frozenset((first.number, second.number))}
        cluster.submit(1, rng.sample(range(5), rng.randint(1, 5)))
        cluster.run_for(rng.randint(100, 900))
    second.crash()
    cluster.heal()
    goal = max(cluster.final) + 1
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()[:4]) >= goal)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_600))
def test_faults_at_length(seed: int) -> None:
    """The same, longer, with a liar in every other run."""
    liar = LIARS[seed % len(LIARS)]
    n = SIZES[seed % len(SIZES)]
    run_campaign(seed, n, rounds=30, make_liar=lying_as(liar) if seed % 2 else None)
