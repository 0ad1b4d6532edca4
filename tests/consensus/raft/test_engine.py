"""A cluster of Raft servers: elections, replication, restarts, broken links."""

from __future__ import annotations

import pytest

from consensus.contract import Answer, CommandGiven, ReadRequested
from consensus.raft import PROTOCOL
from consensus.raft.messages import TimeoutNow
from consensus.raft.reads import READS_MAX
from consensus.raft.rules import term_of
from tests.support.engine_cluster import Cluster, Node
from tests.support.raft_bench import Bench


def make(n: int, seed: int = 1, **settings: object) -> Cluster:
    """A cluster in which nothing but the engine spreads blocks."""
    cluster = Cluster(PROTOCOL, n, seed=seed, background_sync_ms=None, **settings)  # type: ignore[arg-type]
    cluster.start()
    return cluster


def leader_of(cluster: Cluster) -> Node:
    """The one leader of the latest term; waits until there is one."""

    def leaders() -> list[Node]:
        up = [node for node in cluster.nodes if node.up]
        top = max(node.engine._term for node in up)
        return [n for n in up if n.engine._role == "leader" and n.engine._term == top]

    cluster.run_until(lambda: len(leaders()) == 1, 5_000)
    return leaders()[0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_a_cluster_elects_one_leader_and_commits(n: int) -> None:
    cluster = make(n)
    leader = leader_of(cluster)
    cluster.submit(3)
    cluster.run_until(lambda: min(cluster.heights()) >= 2, 2_000)
    assert [node for node in cluster.nodes if node.engine._role == "leader"] == [leader]
    assert {node.engine._leader for node in cluster.nodes} == {leader.address}


def test_a_term_opens_with_a_block_of_its_own() -> None:
    """Section 8: nothing waits, and yet the new leader appends an entry, and an empty one."""
    cluster = make(3)
    leader = leader_of(cluster)
    cluster.run_until(lambda: cluster.heights() == [1, 1, 1], 1_000)
    opening = leader.tree.header(leader.tree.finalized())
    assert term_of(opening) == leader.engine._term
    assert leader.bodies[opening.id].transactions == ()


def test_the_leaders_death_costs_an_election_and_no_block() -> None:
    cluster = make(3)
    leader = leader_of(cluster)
    cluster.submit(2)
    cluster.run_until(lambda: min(cluster.heights()) >= 2, 2_000)
    final = leader.tree.finalized()
    leader.crash()
    cluster.submit()
    others = [node for node in cluster.nodes if node is not leader]
    height = leader.tree.height(final)
    cluster.run_until(lambda: min(n.finalized_height for n in others) > height, 5_000)
    assert all(node.tree.descends(node.tree.finalized(), final) for node in others)
    cluster.restart(leader.number)
    cluster.submit()
    cluster.run_until(lambda: len(set(cluster.heights())) == 1 and -1 not in cluster.heights())


def test_all_restart_and_go_on_with_their_log() -> None:
    cluster = make(5)
    leader_of(cluster)
    cluster.submit(2)
    cluster.run_until(lambda: min(cluster.heights()) >= 2, 2_000)
    terms = [node.engine._term for node in cluster.nodes]
    for node in cluster.nodes:
        node.crash()
    cluster.start()
    assert [node.engine._term for node in cluster.nodes] == terms
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 4, 5_000)


def test_open_reads_are_bounded() -> None:
    bench = Bench()
    bench.lead(1)
    bench.echo(1, height=1)
    for request in range(READS_MAX + 1):
        bench.post(ReadRequested(request))
    assert bench.done(Answer) == [Answer(READS_MAX, "refused: too many reads are open; ask again")]


def test_leadership_is_handed_to_a_voter_that_answers() -> None:
    """The first in address order holds the whole log, and is down: nobody would take over."""
    bench = Bench()
    bench.lead(1, 2)
    bench.echo(1, 2, height=1)
    for _ in range(9):
        bench.pass_(40)
        bench.echo(2, height=1)
    bench.post(CommandGiven(1, "transfer", ()))
    assert [bench.said(TimeoutNow, to) for to in (1, 2)] == [[], [TimeoutNow(bench.term)]]


def test_a_minority_decides_nothing_and_its_leader_steps_down() -> None:
    cluster = make(5)
    leader = leader_of(cluster)
    cluster.submit()
    cluster.run_until(lambda: min(cluster.heights()) >= 2, 2_000)
    others = [node.number for node in cluster.nodes if node is not leader]
    cluster.partition([leader.number, others[0]], others[1:])
    before = leader.finalized_height
    cluster.submit()
    majority = [cluster.nodes[number] for number in others[1:]]
    cluster.run_until(lambda: min(n.finalized_height for n in majority) > before, 5_000)
    assert leader.finalized_height == before
    assert leader.engine._role != "leader"
    cluster.heal()
    cluster.run_until(lambda: len(set(cluster.heights())) == 1, 5_000)
