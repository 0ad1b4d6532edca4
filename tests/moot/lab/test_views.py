"""The checker of views sees what it is there for, and the strikes that bring it out do come."""

from __future__ import annotations

import msgspec
import pytest

from chain.hashing import sha256d
from chain.validators import quorum_byzantine
from consensus.contract import Broadcast, Effect
from consensus.pbft.messages import Commit, NewView, PreparedCertificate, ViewChange
from moot.lab.checkers.views import quorum
from moot.lab.fault_kinds import KINDS, NAMED_ONLY, chosen_kinds
from moot.lab.hunt import hunt, options_of
from moot.lab.mutants import find_mutant
from moot.lab.recording import play, record
from moot.lab.run import RunOptions, run
from moot.lab.steps import Isolate
from moot.lab.world import World
from tests.moot.lab.test_checkers import checkers, found, meddle

OLDEST, ITS_SEED = "takes-the-oldest-prepared", 6
"""Two blocks are prepared at one height, each by one replica, and a new view is shown both."""


def test_an_older_prepared_block_that_is_proposed_again_is_seen() -> None:
    catch = hunt(find_mutant(OLDEST), 1, first=ITS_SEED, shrinks=False)
    assert (catch.found, catch.checker) == (True, "views")
    assert "another block than the highest prepared one" in catch.message


def test_the_right_choice_between_two_prepared_blocks_passes() -> None:
    honest = msgspec.structs.replace(options_of(find_mutant(OLDEST), ITS_SEED), mutant=None)
    outcome = run(honest)
    assert outcome.violations == []
    assert outcome.exercised["new_views_over_two_blocks"], "or the test above shows nothing"


@pytest.mark.slow
def test_a_view_change_that_hides_is_named() -> None:
    catch = hunt(find_mutant("hides-prepared"), 24, shrinks=False)
    assert catch.checker == "views" and "hides at height" in catch.message


def test_a_vote_in_a_view_that_was_left_is_seen() -> None:
    def linger(effects: list[Effect]) -> list[Effect]:
        said = list(effects)
        for effect in effects:
            asked = effect.message if isinstance(effect, Broadcast) else None
            if isinstance(asked, ViewChange):
                late = Commit(asked.view - 1, asked.height, sha256d(b"block"), asked.sender)
                said.append(Broadcast(late))
        return said

    outcome = found("pbft", meddle(4, linger), faults=("kill",), minutes=0.3, seed=2)
    assert any("has asked for view" in one.message for one in outcome.violations)


def _quotes_one(message: NewView) -> NewView:
    return msgspec.structs.replace(message, view_changes=message.view_changes[:1])


def _quotes_nonsense(message: NewView) -> NewView:
    made_up = PreparedCertificate(
        message.view - 1, message.height, sha256d(b"block"), message.sender, bytes(64), ()
    )
    first, *others = message.view_changes
    first = msgspec.structs.replace(first, height=message.height, prepared=made_up)
    return msgspec.structs.replace(message, view_changes=(first, *others))


@pytest.mark.parametrize(
    ("change", "words"),
    [(_quotes_one, "on the word of 1"), (_quotes_nonsense, "on a certificate that is none")],
)
def test_a_new_view_without_ground_is_seen(change: object, words: str) -> None:
    def meddled(effects: list[Effect]) -> list[Effect]:
        return [
            Broadcast(change(effect.message))  # type: ignore[operator]
            if isinstance(effect, Broadcast) and isinstance(effect.message, NewView)
            else effect
            for effect in effects
        ]

    outcome = found("pbft", meddle(4, meddled), faults=("kill",), minutes=0.3, seed=2)
    assert "views" in checkers(outcome)
    assert any(words in one.message for one in outcome.violations)


@pytest.mark.parametrize("n", range(1, 40))
def test_the_checker_counts_quorums_for_itself_and_alike(n: int) -> None:
    assert quorum(n) == quorum_byzantine(n)


def test_what_strikes_phases_comes_by_name_only_and_moves_nothing_else() -> None:
    rng = World(3).rng("swarm")
    drawn = {kind for _ in range(50) for kind in chosen_kinds(None, rng)}
    assert not drawn & set(NAMED_ONLY) and set(NAMED_ONLY) < set(KINDS)


@pytest.mark.parametrize("engine", ["pbft", "raft", "paxos"])
def test_a_node_is_cut_off_at_its_moment_and_comes_back(engine: str) -> None:
    options = RunOptions(engine=engine, nodes=4, seed=1, minutes=0.4, faults=("cut-at-phase",))
    outcome, case = record(options)
    assert outcome.violations == [] and outcome.faults["cut-at-phase"]
    assert any(isinstance(each.step, Isolate) for each in case.script.steps)
    assert play(case).trace_hash == outcome.trace_hash


def test_no_seed_finds_a_step_for_an_engine_without_messages() -> None:
    options = RunOptions(engine="pow", nodes=3, seed=1, minutes=0.1, faults=("cut-at-phase",))
    assert run(options).faults == {}


def test_drawn_leaders_are_no_broken_rota() -> None:
    """Twins by view draw each view's primary; a certificate names that one."""
    outcome = run(RunOptions(engine="pbft", nodes=4, seed=122, minutes=0.4, liars=1))
    assert outcome.exercised["liar_twins_by_view"] and outcome.violations == []
