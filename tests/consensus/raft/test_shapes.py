"""Networks of odd shapes: who leads while some links are down, and who is left in peace."""

from __future__ import annotations

import itertools

import pytest

from consensus.contract import Message
from consensus.raft import PROTOCOL
from consensus.raft.messages import RequestVote
from tests.support.engine_cluster import Cluster, Node


def with_leader(n: int, seed: int = 1, *, sync: bool = False) -> tuple[Cluster, Node]:
    cluster = Cluster(PROTOCOL, n, seed=seed, background_sync_ms=300 if sync else None)
    cluster.start()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 1, 5_000)
    cluster.run_for(200)
    (leader,) = [node for node in cluster.nodes if node.engine._role == "leader"]
    return cluster, leader


def still_leads(cluster: Cluster, leader: Node, term: int) -> bool:
    return leader.engine._role == "leader" and leader.engine._term == term


@pytest.mark.parametrize("pair", list(itertools.combinations(range(3), 2)))
def test_one_cut_link_of_three_leaves_a_leader_that_commits(pair: tuple[int, int]) -> None:
    cluster, _ = with_leader(3, sync=True)
    cluster.blocked = {frozenset(pair)}
    before = max(cluster.heights())
    for _ in range(3):
        cluster.run_for(500)
        cluster.submit()
    cluster.run_until(lambda: sum(h > before + 2 for h in cluster.heights()) >= 2, 3_000)


def test_a_follower_that_cannot_reach_the_leader_does_not_depose_it() -> None:
    """One link cut: the third server still hears the leader, and gives no vote (thesis 4.2.3)."""
    cluster, leader = with_leader(3)
    term = leader.engine._term
    cut_off = next(node for node in cluster.nodes if node is not leader)
    cluster.blocked = {frozenset((leader.number, cut_off.number))}
    for _ in range(5):
        cluster.submit()
        cluster.run_for(400)
    assert still_leads(cluster, leader, term)


@pytest.mark.parametrize("deaf", [True, False], ids=["leader unheard", "leader deaf"])
def test_a_leader_with_one_way_links_is_replaced_where_it_must_be(deaf: bool) -> None:
    """Who is not heard is replaced by timeout; who hears nobody steps down (thesis 6.2)."""
    cluster, leader = with_leader(3)
    before = leader.finalized_height

    def drop(source: Node, target: Node, message: Message) -> bool:
        return source is leader if deaf else target is leader

    cluster.drop = drop
    others = [node for node in cluster.nodes if node is not leader]
    cluster.submit()
    cluster.run_until(lambda: min(n.finalized_height for n in others) > before, 5_000)
    assert any(node.engine._role == "leader" for node in others)
    if not deaf:
        assert leader.engine._role != "leader"


def test_a_follower_that_only_speaks_disturbs_nobody() -> None:
    """It hears nothing, times out again and again, and its pre-votes are ignored (thesis 9.6)."""
    cluster, leader = with_leader(3)
    term = leader.engine._term
    deaf = next(node for node in cluster.nodes if node is not leader)
    cluster.drop = lambda source, target, message: target is deaf
    for _ in range(5):
        cluster.submit()
        cluster.run_for(400)
    assert still_leads(cluster, leader, term)
    cluster.heal()
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 2_000)
    assert still_leads(cluster, leader, term)


@pytest.mark.parametrize("seed", range(5))
def test_who_comes_back_from_a_partition_deposes_nobody(seed: int) -> None:
    cluster, leader = with_leader(5, seed)
    term = leader.engine._term
    away = [node.number for node in cluster.nodes if node is not leader][:2]
    rest = [node.number for node in cluster.nodes if node.number not in away]
    for _ in range(3):
        cluster.partition(away, rest)
        cluster.submit()
        cluster.run_for(1_500)
        cluster.heal()
        cluster.run_for(300)
        assert still_leads(cluster, leader, term)
        assert {node.engine._term for node in cluster.nodes} == {term}
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 2_000)


def test_who_restarts_deposes_nobody() -> None:
    cluster, leader = with_leader(3)
    term = leader.engine._term
    for node in cluster.nodes:
        if node is not leader:
            node.crash()
            cluster.run_for(200)
            cluster.restart(node.number)
            cluster.run_for(500)
    assert still_leads(cluster, leader, term)


def test_a_leader_that_a_later_term_meets_keeps_the_leadership() -> None:
    """A server raised the term right before it was cut off. When it comes back, the leader that
    the majority follows stands for the next term itself."""
    cluster, leader = with_leader(3)
    rogue = next(node for node in cluster.nodes if node is not leader)
    cluster.partition([rogue.number], [n.number for n in cluster.nodes if n is not rogue])
    rogue.engine._view, rogue.engine._now, rogue.engine._effects = rogue.tree, rogue.now(), []
    rogue.engine._stand()
    rogue.effects.extend(rogue.engine._effects)
    rogue.run()
    cluster.run_for(100)
    term = leader.engine._term
    assert rogue.engine._term == term + 1
    cluster.heal()
    cluster.run_until(lambda: rogue.engine._leader == leader.address, 1_000)
    assert leader.engine._role == "leader" and leader.engine._term > term
    cluster.submit()
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 2_000)


def test_five_in_a_star_with_a_live_centre_commit() -> None:
    """Every server reaches the centre alone: only the centre can lead."""
    cluster, leader = with_leader(5)
    centre = next(node for node in cluster.nodes if node is not leader)
    cluster.blocked = {
        frozenset((a.number, b.number))
        for a, b in itertools.combinations(cluster.nodes, 2)
        if centre not in (a, b)
    }
    before = centre.finalized_height
    cluster.submit()
    cluster.run_until(lambda: centre.engine._role == "leader", 10_000)
    cluster.run_until(lambda: min(cluster.heights()) > before, 5_000)


def test_an_observer_is_not_listened_to() -> None:
    cluster = Cluster(PROTOCOL, 3, observers=1, background_sync_ms=None)
    cluster.start()
    cluster.run_until(lambda: min(cluster.heights()[:3]) >= 1, 5_000)
    stranger = cluster.nodes[3]
    terms = [node.engine._term for node in cluster.nodes[:3]]
    tip = stranger.tree.header(stranger.tree.head())
    for node in cluster.nodes[:3]:
        cluster.deliver(stranger, node, RequestVote(99, 50, tip.id, 98, False, True))
    cluster.run_for(300)
    assert [node.engine._term for node in cluster.nodes[:3]] == terms


def test_loss_of_a_third_of_all_messages_is_borne() -> None:
    cluster, _ = with_leader(3)
    cluster.loss = 0.33
    before = min(cluster.heights())
    for _ in range(10):
        cluster.submit()
        cluster.run_for(300)
    cluster.heal()
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) > before + 3, 10_000)
