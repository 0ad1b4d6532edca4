"""Waiting transactions go straight to the node that the engine names as producer."""

from __future__ import annotations

import pytest

from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from p2p.wire import PushTransactions


def _leader(cluster: Cluster) -> SimulatedNode:
    named = {node.running.producer for node in cluster.nodes[:3]}
    assert len(named) == 1, "all know the one leader"
    return next(node for node in cluster.nodes if node.signer.address in named)


def _started(observers: int = 0) -> Cluster:
    cluster = Cluster("raft", 3, 7, observers=observers)
    for node in cluster.nodes:
        node.start()
    cluster.run(2_000)
    return cluster


@pytest.mark.parametrize("own", [True, False], ids=["at the leader", "at a follower"])
def test_a_clients_transfer_is_pushed_to_the_leader_once(own: bool) -> None:
    cluster = _started()
    leader = _leader(cluster)
    taker = leader if own else next(node for node in cluster.nodes if node is not leader)
    before = cluster.network.messages["PushTransactions"]
    cluster.transfer(cluster.world.rng("payment"), taker)
    cluster.run(1_000)
    pushed = cluster.network.messages["PushTransactions"] - before
    assert pushed == (0 if own else 1)
    heights = {
        node.running.ledger.height(node.running.ledger.finalized()) for node in cluster.nodes
    }
    assert heights == {2}, "the opening block and one with the transfer"


def test_what_an_observer_pushes_costs_it_and_changes_nothing() -> None:
    cluster = _started(observers=1)
    leader, observer = _leader(cluster), cluster.nodes[3]
    cluster.transfer(cluster.world.rng("payment"), observer)
    (transaction,) = cluster.submitted
    leader.receive(observer.key, PushTransactions((transaction.raw,)))
    assert leader.misbehaviour[(observer.key, "unsolicited")] == 1
    assert transaction.id not in leader.running.mempool
