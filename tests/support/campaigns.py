"""Random adversity for a cluster, from one seed: safety all the time, progress once it heals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chain.validators import faults_byzantine
from consensus.contract import EngineProtocol
from tests.support.engine_cluster import Cluster, Node

LIVENESS_MS = 60_000
"""Virtual time after healing within which a quorum must finalize: many times any timeout."""


def run_campaign(
    seed: int,
    n: int,
    *,
    protocol: EngineProtocol,
    parameters: Any,
    rounds: int = 12,
    make_liar: Callable[[Node], None] | None = None,
    background_sync_ms: int | None = 1_000,
    crashes: bool = True,
) -> Cluster:
    """Loss, repetition, reordering, partitions, crashes at any effect, restarts; then peace.

    With ``make_liar`` (Byzantine engines), f members lie, and the honest ones are spared crashes
    that would leave fewer than n - f honest members at the end.
    """
    cluster = Cluster(
        protocol,
        n,
        seed=seed,
        parameters=parameters,
        loss=0.1,
        duplicates=0.1,
        latency_ms=(1, 80),
        background_sync_ms=background_sync_ms,
    )
    cluster.imports_built = seed % 2 == 0
    rng = cluster.rng
    if make_liar is not None:
        for number in rng.sample(range(n), faults_byzantine(n)):
            cluster.nodes[number].honest = False
            make_liar(cluster.nodes[number])
    cluster.start()
    for _ in range(rounds):
        _disturb(cluster, crashes)
        cluster.submit(rng.randint(0, 2))
        cluster.run_for(rng.randint(50, 1_500))
    cluster.heal()
    for node in cluster.nodes:
        node.crash_at_effect = None
        if not node.up:
            cluster.restart(node.number)
    honest = [node for node in cluster.nodes if node.honest]
    goal = max(node.finalized_height for node in honest) + 2
    for target in (goal - 1, goal):
        cluster.submit()

        def reached(height: int = target) -> bool:
            return min(node.finalized_height for node in honest) >= height

        cluster.run_until(reached, LIVENESS_MS)
    return cluster


def _disturb(cluster: Cluster, crashes: bool) -> None:
    rng, n = cluster.rng, len(cluster.nodes)
    node = rng.choice(cluster.nodes)
    match rng.randrange(6 if crashes else 3):
        case 0:
            cluster.loss = rng.choice((0.0, 0.1, 0.4))
        case 1:
            cut = rng.randint(1, n)
            order = rng.sample(range(n), n)
            cluster.partition(order[:cut], order[cut:])
        case 2:
            cluster.heal()
        case 3:
            if node.up:
                node.crash_at_effect = node.effects_done + rng.randint(0, 12)
        case 4:
            for other in cluster.nodes:
                if not other.up:
                    cluster.restart(other.number)
        case 5:
            if rng.random() < 0.3:
                for other in cluster.nodes:
                    cluster.restart(other.number)
            else:
                cluster.restart(node.number)
