"""The members change under a running network: who votes, who follows, and who catches up later."""

from __future__ import annotations

import pytest

from chain.state.accounts import get_validators
from chain.transaction import LEARNER, OUT, VOTER, MembershipVote
from consensus.contract import Effect, Event, MessageReceived
from consensus.pbft.messages import Commit
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from moot.node.why import explain


def begun(engine: str = "pbft", nodes: int = 4, observers: int = 1, seed: int = 1) -> Cluster:
    cluster = Cluster(engine, nodes, seed, observers=observers)
    cluster.start()
    cluster.load(300)
    cluster.run(2_000)
    return cluster


def wish(cluster: Cluster, voters: range | list[int], subject: int, standing: int) -> None:
    """The operators of some nodes vote; then it is waited for."""
    name = f"n{subject}" if standing != OUT else ""
    address = cluster.nodes[subject].signer.address
    for voter in voters:
        cluster.vote(voter, MembershipVote(address, standing, int(standing == VOTER), name))
    cluster.run(4_000)


def voters_of(node: SimulatedNode) -> list[str]:
    ledger = node.running.ledger
    return sorted(voter.name for voter in get_validators(ledger.state()).voters)


def said_of(node: SimulatedNode) -> str:
    healthy, sentences = explain(node.running, node.world.now_ms)
    assert healthy, sentences
    return " ".join(sentences)


def test_a_node_becomes_a_voter_while_it_runs_and_another_goes_on_as_observer() -> None:
    cluster = begun()
    fifth, first = cluster.nodes[4], cluster.nodes[0]
    heard: list[Commit] = []

    def listen(thing: Event | Effect) -> None:
        match thing:
            case MessageReceived(sender=sender, message=Commit() as commit):
                if sender == fifth.signer.address:
                    heard.append(commit)

    cluster.nodes[1].running.driver.observers.append(listen)
    assert "This node is no member: it follows as an observer" in said_of(fifth)
    wish(cluster, range(3), 4, VOTER)
    admitted = cluster.nodes[1].running.ledger
    first_height = next(
        height
        for height in range(1, admitted.height(admitted.head()) + 1)
        if fifth.signer.address in admitted.validators(admitted.id_at(height - 1) or b"")
    )
    assert heard and min(commit.height for commit in heard) == first_height, cluster.explain()
    assert fifth.running.engine_status().facts["role"] != "observer"
    assert "no member" not in said_of(fifth)
    wish(cluster, range(1, 5), 0, OUT)
    assert voters_of(first) == ["n1", "n2", "n3", "n4"]
    assert "no member any more: the members voted it out" in said_of(first)
    assert first.running.engine_status().facts["role"] == "observer"
    height = max(cluster.final_heights())
    assert cluster.wait_final(height + 3, 20_000), cluster.explain()


def test_a_learner_follows_without_a_vote_and_is_promoted() -> None:
    cluster = begun()
    wish(cluster, range(3), 4, LEARNER)
    assert "This node is a learner" in said_of(cluster.nodes[4])
    assert voters_of(cluster.nodes[4]) == ["n0", "n1", "n2", "n3"]
    wish(cluster, range(1, 4), 4, VOTER)
    assert voters_of(cluster.nodes[4]) == ["n0", "n1", "n2", "n3", "n4"]


def confirmed(node: SimulatedNode) -> int:
    ledger = node.running.ledger
    return ledger.height(ledger.confirmed())


@pytest.mark.parametrize("engine", ["pbft", "authority", "raft", "paxos"])
def test_the_members_change_completely_and_a_newcomer_catches_up_from_genesis(engine: str) -> None:
    """Each set was decided by the one before; restarts and lost power change nothing.

    Under ``authority`` a head's seal is judged by the set of its height, which headers-first sync
    knows only once it has executed the votes: it takes several rounds, and gets there.
    """
    cluster = Cluster(engine, 4, 3, observers=5)
    late = cluster.nodes[8]
    for node in cluster.nodes[:8]:
        node.start()
    cluster.load(400)
    cluster.run(1_500)
    members = [0, 1, 2, 3]
    for number in range(4):
        wish(cluster, members, number + 4, VOTER)
        members.append(number + 4)
        wish(cluster, members[1:], number, OUT)
        members.remove(number)
    assert voters_of(cluster.nodes[5]) == ["n4", "n5", "n6", "n7"]
    rng = cluster.world.rng("test")
    for node in cluster.nodes[:8]:
        node.crash(rng)
    for node in cluster.nodes:
        node.start()
    cluster.run(5_000)
    target = confirmed(cluster.nodes[5])
    assert cluster.world.run_until(
        cluster.world.now_ms + 60_000,
        lambda: min(confirmed(node) for node in cluster.nodes) > target,
    ), cluster.explain()
    assert voters_of(late) == ["n4", "n5", "n6", "n7"]
    for at in range(1, target):
        ids = {node.running.ledger.id_at(at) for node in cluster.nodes}
        assert len(ids) == 1


def test_a_set_without_its_former_members_goes_on_when_they_are_gone() -> None:
    cluster = begun(nodes=5, observers=0)
    wish(cluster, range(4), 4, OUT)
    cluster.nodes[4].crash(None)
    cluster.nodes[3].crash(None)
    height = max(cluster.final_heights())
    assert cluster.wait_final(height + 3, 30_000), "three of four decide: " + cluster.explain()


@pytest.mark.parametrize("known", [True, False])
def test_the_roll_looks_ahead_to_the_newest_set(known: bool) -> None:
    cluster = begun(nodes=1, observers=1)
    only, other = cluster.nodes
    if known:
        wish(cluster, [0], 1, LEARNER)
    roll = only.running.roll
    assert (other.signer.address in roll.listed) == known
    assert roll.speakers == {only.signer.address}
