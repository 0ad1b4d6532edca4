"""Runs in which the members change: what is drawn, what is borne, and how it is written."""

from __future__ import annotations

import pytest

from moot.lab.members import newest_members
from moot.lab.run import Laboratory, RunOptions, run
from moot.lab.scenario_words import Words, read_step
from moot.lab.steps import Vote

OPTIONS = RunOptions(engine="pbft", nodes=5, seed=3, minutes=0.3, faults=("membership",))


def test_the_members_change_and_nothing_is_violated() -> None:
    outcome = run(OPTIONS)
    assert outcome.violations == []
    assert outcome.faults["membership"] >= 5 <= outcome.exercised["membership_votes"]


def test_no_more_is_broken_than_the_smaller_set_bears() -> None:
    laboratory = Laboratory(OPTIONS)
    assert laboratory.changes_members and laboratory.bearable == 1, "f(4)"
    four = RunOptions(engine="pbft", nodes=4, seed=3, faults=("membership",), liars=1)
    assert not Laboratory(four).changes_members, "three members bear no liar"
    assert not Laboratory(RunOptions(engine="pow", nodes=4, seed=3, faults=())).changes_members


@pytest.mark.parametrize("nodes", range(3, 9))
@pytest.mark.parametrize("faults", [(), ("membership",)])
def test_no_majority_is_without_a_node_that_keeps_everything(
    nodes: int, faults: tuple[str, ...]
) -> None:
    """Authority, 4 nodes, seed 686: with one voter out two that prune were a majority, and went on
    until those that were cut off could not follow any more."""
    options = RunOptions(
        engine="authority", nodes=nodes, seed=3, faults=faults, snapshots="4,2,0,15"
    )
    laboratory = Laboratory(options)
    laboratory.watch()
    prune = sum(node.settings.snapshots.bodies > 0 for node in laboratory.nodes)
    voters = nodes - laboratory.changes_members
    assert laboratory.changes_members == bool(faults)
    assert prune < laboratory.properties.quorum(voters)


def test_one_wish_at_a_time() -> None:
    laboratory = Laboratory(OPTIONS)
    laboratory.cluster.start()
    laboratory.world.run_until(500)
    known = newest_members(laboratory.nodes, laboratory.clients)
    assert known is not None and known.voting == {f"n{number}" for number in range(5)}
    assert laboratory.faults.do(Vote("n0", "n4", "out"))
    assert newest_members(laboratory.nodes, laboratory.clients) is None, "a vote is under way"
    assert not laboratory.faults.do(Vote("n0", "n3", "out")), "one vote of each at a time"


def test_nothing_is_wished_while_only_those_run_who_missed_the_last_vote() -> None:
    """Raft, 4 nodes, seed 7213: the only node that ran had lost its disk and knew of no change. Two
    of four were voted out, and the two that stayed bore no fault any more."""
    laboratory = Laboratory(OPTIONS)
    laboratory.cluster.start()
    laboratory.world.run_until(500)
    clients, (*others, late) = laboratory.clients, laboratory.nodes
    late.crash()
    for number in range(4):
        assert laboratory.faults.do(Vote(f"n{number}", "n3", "learner"))
    clients.start()
    assert laboratory.world.run_until(20_000, lambda: not clients.votes_under_way)
    known = newest_members(laboratory.nodes, clients)
    assert known is not None and known.learning == {"n3"}
    for node in others:
        node.crash()
    late.start()
    assert newest_members(laboratory.nodes, clients) is None


@pytest.mark.parametrize("text", ["vote n0 n4 voter", "vote n1 n1 learner", "vote n2 n0 out"])
def test_a_vote_is_written_as_it_is_read(text: str) -> None:
    step = read_step(Words(text.split()), 5, 5)
    assert isinstance(step, Vote) and step.text == text
