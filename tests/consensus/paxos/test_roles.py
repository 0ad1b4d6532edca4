"""Proposer, acceptor and learner by themselves, without an engine around them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import codec
from chain.errors import DamagedStore, InvalidEncoding
from chain.validators import Validator, validator_set
from consensus.contract import NodeId
from consensus.paxos.acceptor import Acceptor
from consensus.paxos.ballot import NO_BALLOT, Ballot, next_ballot
from consensus.paxos.learner import Learner
from consensus.paxos.messages import Accepted, Certificate, Promise, Signed, Vote
from consensus.paxos.proposer import Proposer
from consensus.paxos.record import PaxosRecord, parse_record
from tests.support.fake_chain import make_address

A, B, C = (make_address(number) for number in range(3))
THREE = validator_set(Validator(one, 1) for one in (A, B, C))
X, Y = bytes([1]) * 32, bytes([2]) * 32
SIGNATURE = bytes(64)


def accepted(acceptor: NodeId, ballot: Ballot, block: bytes, height: int = 1) -> Accepted:
    return Accepted(ballot, height, block, acceptor, SIGNATURE)


# -------------------------------------------------------------------------------------- ballots


def test_rounds_are_compared_as_numbers_and_not_as_text() -> None:
    assert Ballot(9, C) < Ballot(10, A) < Ballot(10, B)
    assert next_ballot(A, [Ballot(9, C), Ballot(10, B)]) == Ballot(11, A)
    assert next_ballot(A, []) == Ballot(1, A) > NO_BALLOT


@given(st.lists(st.tuples(st.integers(0, 2**62), st.sampled_from([A, B, C]))))
def test_ballots_are_disjoint_and_above_all_that_were_seen(seen: list[tuple[int, NodeId]]) -> None:
    ballots = [Ballot(*one) for one in seen]
    own, other = next_ballot(A, ballots), next_ballot(B, ballots)
    assert own != other
    assert all(one < own and one < other for one in ballots)


@pytest.mark.parametrize("wrong", [(1.5, A), ("10", A), (-1, A), (2**63, A), (1, b"short")])
def test_a_ballot_on_the_wire_is_a_bounded_integer_and_an_address(wrong: object) -> None:
    with pytest.raises(InvalidEncoding):
        codec.decode(codec.encode(wrong), Ballot)


# ------------------------------------------------------------------------------------- acceptor


def test_an_acceptor_promises_upwards_and_the_same_again() -> None:
    acceptor = Acceptor()
    assert acceptor.prepare(Ballot(2, A))
    assert acceptor.prepare(Ballot(2, A)), "the answer may have been lost"
    assert not acceptor.prepare(Ballot(1, C))
    assert acceptor.promised == Ballot(2, A)


def test_an_acceptor_accepts_what_it_promised_and_nothing_below() -> None:
    acceptor = Acceptor(Ballot(2, A))
    assert not acceptor.accept(Ballot(1, C), X)
    assert acceptor.accepted is None
    assert acceptor.accept(Ballot(2, A), X)
    assert acceptor.accept(Ballot(3, B), Y), "accepting more than promised is promising it"
    assert acceptor.promised == Ballot(3, B)
    assert acceptor.accepted == Vote(Ballot(3, B), Y)


# ------------------------------------------------------------------------------------- proposer


def test_promises_are_counted_once_for_each_acceptor_and_for_one_ballot() -> None:
    proposer = Proposer()
    proposer.begin(Ballot(2, A))
    for _ in range(3):
        assert proposer.hear(B, Promise(Ballot(2, A), 1, None))
    assert not proposer.hear(C, Promise(Ballot(1, A), 1, None))
    assert not proposer.has_majority(THREE)
    assert proposer.hear(C, Promise(Ballot(2, A), 1, None))
    assert proposer.has_majority(THREE)


def test_promises_of_those_without_a_vote_do_not_count() -> None:
    learner, stranger = make_address(7), make_address(8)
    members = validator_set([*THREE.members, Validator(learner, 0)])
    proposer = Proposer()
    proposer.begin(Ballot(1, A))
    for one in (A, learner, stranger):
        proposer.hear(one, Promise(Ballot(1, A), 1, None))
    assert not proposer.has_majority(members)


def test_the_choice_is_the_vote_of_the_highest_ballot() -> None:
    """Neither the own value, nor the first one, nor the most frequent one."""
    proposer = Proposer()
    proposer.begin(Ballot(9, A))
    proposer.hear(A, Promise(Ballot(9, A), 1, Vote(Ballot(3, B), X)))
    proposer.hear(B, Promise(Ballot(9, A), 1, Vote(Ballot(3, B), X)))
    proposer.hear(C, Promise(Ballot(9, A), 1, Vote(Ballot(3, C), Y)))
    bound = proposer.bound_to(1)
    assert bound == Vote(Ballot(3, C), Y)
    assert proposer.witness(bound) == C
    assert proposer.bound_to(2) is None


def test_an_acceptor_that_is_ahead_shows_which_heights_are_over() -> None:
    proposer = Proposer()
    proposer.begin(Ballot(9, A))
    proposer.hear(A, Promise(Ballot(9, A), 4, Vote(Ballot(3, B), X)))
    proposer.hear(B, Promise(Ballot(9, A), 6, None))
    assert proposer.open_height() == 6
    assert proposer.bound_to(6) is None, "what was accepted at 4 was settled since"


# -------------------------------------------------------------------------------------- learner


def test_a_majority_must_be_of_distinct_acceptors_and_of_one_ballot() -> None:
    learner = Learner()
    for _ in range(3):
        learner.hear(accepted(A, Ballot(1, A), X))
    assert learner.chosen(THREE) is None
    learner.hear(accepted(B, Ballot(2, B), X))
    assert learner.chosen(THREE) is None, "one block under two ballots is no majority"
    learner.hear(accepted(A, Ballot(2, B), X))
    expected = Certificate(1, Ballot(2, B), X, (Signed(A, SIGNATURE), Signed(B, SIGNATURE)))
    assert learner.chosen(THREE) == expected


def test_a_learner_keeps_the_newest_acceptance_of_each() -> None:
    learner = Learner()
    learner.hear(accepted(A, Ballot(2, B), X))
    learner.hear(accepted(A, Ballot(1, A), Y))
    assert learner.voters(Ballot(2, B), X) == [A]
    learner.forget()
    assert learner.accepted == {}


def test_acceptances_of_those_without_a_vote_do_not_count() -> None:
    learner = Learner()
    for one in (A, make_address(7), make_address(8)):
        learner.hear(accepted(one, Ballot(1, A), X))
    assert learner.chosen(THREE) is None


# ------------------------------------------------------------------------------------ together


@given(seed=st.integers(0, 2**32), n=st.integers(1, 7), steps=st.integers(10, 200))
def test_only_one_value_is_ever_chosen(seed: int, n: int, steps: int) -> None:
    """The Synod of roles alone: any order, any loss, any repetition, every proposer at once.

    Once a majority accepted a value under one ballot, every later choice is that value.
    """
    rng = random.Random(seed)
    names = [make_address(number) for number in range(n)]
    members = validator_set(Validator(one, 1) for one in names)
    acceptors = {name: Acceptor() for name in names}
    proposers = {name: Proposer() for name in names}
    learner = Learner()
    asked: list[tuple[Ballot, bytes]] = []
    chosen: set[bytes] = set()
    for _ in range(steps):
        name, at = rng.choice(names), rng.choice(names)
        proposer, acceptor = proposers[name], acceptors[at]
        match rng.randrange(4):
            case 0:
                seen = [acceptors[name].promised, proposer.ballot or NO_BALLOT]
                proposer.begin(next_ballot(name, seen))
            case 1:
                if proposer.ballot is not None and acceptor.prepare(proposer.ballot):
                    proposer.hear(at, Promise(proposer.ballot, 1, acceptor.accepted))
            case 2:
                if proposer.ballot is not None and proposer.has_majority(members):
                    bound = proposer.bound_to(1)
                    own = bytes([names.index(name)]) * 32
                    value = own if bound is None else bound.block_id
                    proposer.proposed = proposer.proposed or value
                    asked.append((proposer.ballot, proposer.proposed))
            case 3:
                if asked:
                    ballot, value = rng.choice(asked)
                    if acceptor.accept(ballot, value):
                        learner.hear(accepted(at, ballot, value))
                        found = learner.chosen(members)
                        if found is not None:
                            chosen.add(found.block_id)
    assert len(chosen) <= 1


# --------------------------------------------------------------------------------------- record


def test_a_record_reads_back_and_a_damaged_one_is_said_to_be() -> None:
    certificate = Certificate(6, Ballot(2, B), X, (Signed(A, SIGNATURE), Signed(B, SIGNATURE)))
    record = PaxosRecord(
        height=7, promised=Ballot(3, C), accepted=Vote(Ballot(3, C), Y), decided=certificate
    )
    assert parse_record(record.raw) == record
    with pytest.raises(DamagedStore, match="restore it from a backup"):
        parse_record(record.raw[:-1])
    with pytest.raises(DamagedStore):
        parse_record(b"")
