"""PBFT over the contract, without faults."""

from __future__ import annotations

import pytest

from chain.validators import quorum_byzantine
from consensus.pbft import PROTOCOL
from tests.support.engine_cluster import Cluster


@pytest.mark.parametrize("n", range(1, 8))
def test_every_size_finalizes_a_waiting_transaction(n: int) -> None:
    """One to seven validators: a submitted transaction is final everywhere, in view 0."""
    cluster = Cluster(PROTOCOL, n, seed=n)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) == 1, limit_ms=1_000)
    assert quorum_byzantine(n) <= n
    assert not any(node.reports for node in cluster.nodes)
    assert not any(node.pool for node in cluster.nodes)
