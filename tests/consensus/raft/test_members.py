"""Raft's members change by transaction, in the production node over a simulated world."""

from __future__ import annotations

import random

import pytest

from chain.transaction import LEARNER, OUT, VOTER, MembershipVote
from consensus.raft.rules import leaves_joint
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from moot.lab.run import Laboratory, RunOptions, run

IDLE = {"idle_block_ms": 0}


def begun(nodes: int, observers: int, seed: int = 1) -> Cluster:
    """Nothing is minted while nothing waits, and nobody pays."""
    cluster = Cluster("raft", nodes, seed, observers=observers, parameters=IDLE)  # type: ignore[arg-type]
    cluster.start()
    cluster.run(2_000)
    return cluster


def wish(cluster: Cluster, voters: list[int], subject: int, standing: int) -> None:
    address = cluster.nodes[subject].signer.address
    name = f"n{subject}" if standing != OUT else ""
    for voter in voters:
        cluster.vote(voter, MembershipVote(address, standing, int(standing == VOTER), name))
        cluster.run(300)
    cluster.run(2_000)


def names(node: SimulatedNode) -> list[str]:
    ledger = node.running.ledger
    return sorted(one.name for one in ledger.validators(ledger.finalized()).voters)


def leader_of(cluster: Cluster) -> SimulatedNode:
    found = {node.running.producer for node in cluster.nodes if node.core is not None}
    (address,) = found - {None}
    return next(node for node in cluster.nodes if node.signer.address == address)


def claims_of(node: SimulatedNode) -> list[bool]:
    ledger = node.running.ledger
    heads = [
        ledger.head_of(ledger.id_at(at) or b"") for at in range(1, ledger.height(ledger.head()))
    ]
    return [leaves_joint(head) for head in heads if head is not None]


def test_a_voter_joins_an_idle_chain_through_a_joint_configuration() -> None:
    cluster = begun(3, 1)
    wish(cluster, [0, 1], 3, VOTER)
    for node in cluster.nodes:
        assert names(node) == ["n0", "n1", "n2", "n3"], cluster.explain()
        ledger = node.running.ledger
        assert ledger.validators(ledger.finalized()).outgoing == ()
    assert claims_of(cluster.nodes[0]).count(True) == 1, "the joint configuration was left once"
    height = max(cluster.final_heights())
    cluster.run(5_000)
    assert max(cluster.final_heights()) == height, "and then the chain is idle again"


def test_a_removed_leader_hands_over_and_follows_on() -> None:
    cluster = begun(3, 0)
    leader = leader_of(cluster)
    number = cluster.nodes.index(leader)
    others = [one for one in range(3) if one != number]
    elections = []
    for node in cluster.nodes:
        node.observe(lambda thing: elections.append(thing.name) if _is_pre_vote(thing) else None)
    wish(cluster, others, number, OUT)
    assert names(leader) == [f"n{one}" for one in others], cluster.explain()
    after = leader_of(cluster)
    assert after is not leader and after.running.engine_status().facts["role"] == "leader"
    assert leader.running.engine_status().facts["role"] == "observer"
    assert elections == [], "nobody had to wait for a timeout"
    cluster.transfer(cluster.world.rng("pay"), leader)
    height = max(cluster.final_heights())
    assert cluster.wait_final(height, 3_000), "and what it takes in still gets into a block"


def _is_pre_vote(thing: object) -> bool:
    return getattr(thing, "name", "") == "pre-vote"


def test_a_learner_catches_up_without_a_vote_and_is_promoted() -> None:
    cluster = begun(3, 1)
    cluster.nodes[3].crash()
    wish(cluster, [0, 1], 3, LEARNER)
    for _ in range(5):
        cluster.transfer(cluster.world.rng("pay"), cluster.nodes[0])
        cluster.run(300)
    cluster.nodes[3].start()
    cluster.run(2_000)
    rows = leader_of(cluster).running.engine_status().tables["servers"]
    (learner,) = [row for row in rows if row["part"] == "learner"]
    assert learner["match"] == max(cluster.final_heights())
    wish(cluster, [0, 2], 3, VOTER)
    assert names(cluster.nodes[3]) == ["n0", "n1", "n2", "n3"]
    for number in (0, 1):
        if cluster.nodes[number] is not leader_of(cluster):
            cluster.nodes[number].crash()
            break
    height = max(cluster.final_heights())
    cluster.transfer(cluster.world.rng("pay"), cluster.nodes[3])
    assert cluster.wait_final(height, 5_000), "three of four decide, the promoted one among them"


def _change_members(laboratory: Laboratory) -> None:
    """Every now and then all current voters wish one of the five in or out, or a learner."""
    cluster, world = laboratory.cluster, laboratory.world
    laboratory.bearable = 0  # at the end everybody runs: the voters may be only two or three
    rng = world.rng("members")

    def change() -> None:
        world.after(rng.randrange(500, 3_000), change)
        _wish_something(cluster, rng)

    world.after(1_500, change)


def _wish_something(cluster: Cluster, rng: random.Random) -> None:
    up = [node for node in cluster.nodes if node.core is not None]
    if not up:
        return
    ledger = up[0].running.ledger
    voters = [voter.address for voter in ledger.validators(ledger.finalized()).voters]
    subject = rng.randrange(len(cluster.nodes))
    standing = rng.choice((VOTER, VOTER, LEARNER, OUT))
    if len(voters) <= 3 and standing != VOTER:
        return
    name = f"n{subject}" if standing != OUT else ""
    vote = MembershipVote(
        cluster.nodes[subject].signer.address, standing, int(standing == VOTER), name
    )
    for number, node in enumerate(cluster.nodes):
        if node.core is not None and node.signer.address in voters:
            try:
                cluster.vote(number, vote)
            except AssertionError:
                continue  # refused: a change is under way, or it is what is wished already


FAULTS = (
    *("delay", "loss", "reordering", "duplication", "one-way-cut", "partition", "flapping"),
    *("kill", "power-failure", "kill-all", "crash-at-effect", "torn-write", "pause", "slow-disk"),
)


def _run(seed: int) -> int:
    options = RunOptions(engine="raft", nodes=5, seed=seed, minutes=0.5, faults=FAULTS)
    outcome = run(options, (_change_members,))
    assert outcome.violations == [], (seed, outcome.violations[0])
    return outcome.operations


@pytest.mark.parametrize("seed", [2, 118, 121])
def test_members_change_under_faults(seed: int) -> None:
    assert _run(seed) > 0


@pytest.mark.slow
def test_members_change_under_faults_for_many_seeds() -> None:
    assert sum(_run(seed) for seed in range(100, 125)) > 0
