"""Validator sets, and quorum arithmetic for every n, not only for 3f + 1."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain import codec
from chain.address import key_address
from chain.errors import InvalidEncoding
from chain.genesis import FORMAT, SUPPLY_MAX, Allocation, Era, Genesis, Limits, era_at
from chain.hashing import sha256d
from chain.validators import (
    VALIDATORS_MAX,
    Validator,
    faults_byzantine,
    faults_crash,
    majority,
    quorum_byzantine,
    validator_set,
)

members = st.lists(
    st.builds(Validator, st.binary(min_size=32, max_size=32).map(key_address), st.integers(1, 99)),
    max_size=8,
    unique_by=lambda member: member.address,
)


@pytest.mark.parametrize("n", range(1, 200))
def test_byzantine_quorums_share_an_honest_member_and_can_be_had(n):
    f, quorum = faults_byzantine(n), quorum_byzantine(n)
    assert 3 * f < n <= 3 * (f + 1), "f is the largest that n bears"
    assert 2 * quorum - n >= f + 1, "any two quorums share f + 1, so one that is honest"
    assert 2 * (quorum - 1) - n < f + 1, "and no smaller one would do"
    assert quorum <= n - f, "the honest alone are a quorum"
    if n == 3 * f + 1:
        assert quorum == 2 * f + 1


@pytest.mark.parametrize("n", range(1, 200))
def test_majorities_share_a_member_and_can_be_had(n):
    f = faults_crash(n)
    assert 2 * majority(n) > n and 2 * (majority(n) - 1) <= n
    assert majority(n) <= n - f and 2 * f < n <= 2 * (f + 1)


def test_two_quorums_of_five_share_three():
    """With n = 5 the quorum is 4: 2f + 1 = 3 would leave two that share one, perhaps the liar."""
    assert quorum_byzantine(5) == quorum_byzantine(6) == 4
    groups = list(combinations(range(5), quorum_byzantine(5)))
    assert min(len(set(one) & set(two)) for one in groups for two in groups) == 3


@given(members, st.randoms(use_true_random=False))
def test_a_set_does_not_depend_on_the_order_given(listed, rng):
    shuffled = list(listed)
    rng.shuffle(shuffled)
    made, other = validator_set(listed, b"seed"), validator_set(shuffled, b"seed")
    assert made == other and made.hash == other.hash == sha256d(codec.encode(made))
    assert [m.address for m in made.members] == sorted(m.address for m in listed)
    assert len(made) == len(listed)
    assert made.total_weight == sum(m.weight for m in listed)
    for position, member in enumerate(made.members):
        assert made.index[member.address] == position and member.address in made
        assert made.by_address[member.address] is member
    assert made.hash != validator_set(listed, b"other").hash


def test_weight_counts_a_member_once_and_strangers_not_at_all():
    one, two, stranger = (key_address(bytes([number]) * 32) for number in range(3))
    made = validator_set([Validator(one, 5), Validator(two, 7)])
    assert made.weight_of([one, one, stranger]) == 5
    assert made.weight_of([one, two, two]) == made.total_weight == 12
    assert made.weight_of([]) == 0 and stranger not in made


def test_a_member_twice_is_our_mistake():
    twice = [Validator(key_address(bytes(32)), 1)] * 2
    with pytest.raises(AssertionError):
        validator_set(twice)
    with pytest.raises(AssertionError):
        validator_set(twice[:1], outgoing=twice)


def members_of(**weights: int) -> list[Validator]:
    return [Validator(key_address(name.encode() * 32), w, name) for name, w in weights.items()]


def test_learners_are_members_without_a_vote():
    made = validator_set(members_of(a=1, b=0, c=3))
    a, b, c = (member.address for member in made.members)
    assert [voter.name for voter in made.voters] == ["a", "c"]
    assert [learner.name for learner in made.learners] == ["b"]
    assert len(made) == 2 and b not in made and a in made and c in made
    assert made.index == {a: 0, c: 1} and set(made.by_address) == made.listed == {a, b, c}
    assert made.decided_by([a, c], majority)
    assert not made.decided_by([a, b, b], majority), "a learner's word counts nothing"


def test_a_joint_set_needs_a_quorum_of_both_halves():
    joint = validator_set(members_of(c=1, d=1, e=1), outgoing=members_of(a=1, b=1, c=1))
    a, b, c, d, e = sorted(joint.listed)
    assert not joint.decided_by([c, d, e], majority), "new voters alone"
    assert not joint.decided_by([a, b, c], majority), "old voters alone"
    assert joint.decided_by([a, c, d], majority) and joint.decided_by([a, b, d, e], majority)
    assert not joint.decided_by([a, a, d, d], majority), "one voice twice"
    assert joint.hash != validator_set(joint.members).hash
    assert a not in joint and len(joint) == 3


def test_an_empty_set_decides_nothing():
    assert not validator_set([]).decided_by([A], lambda n: 0)
    assert not validator_set(members_of(a=0)).decided_by([A], lambda n: 0)


A, B = key_address(b"a" * 32), key_address(b"b" * 32)
ERA = Era(0, "pow", (("a", 1), ("b", "x")))


def genesis(**changes: object) -> Genesis:
    fields: dict[str, object] = {
        "format": FORMAT,
        "name": "n",
        "network": "dev",
        "time_ms": 0,
        "eras": (ERA,),
        "validators": (Validator(A, 1),),
        "allocations": (Allocation(A, 1),),
        "limits": Limits(),
    }
    return Genesis(**{**fields, **changes})


def test_a_sound_genesis():
    made = genesis(allocations=(Allocation(A, SUPPLY_MAX - 1), Allocation(B, 1)))
    made.check()
    assert made.prefix == "rmoot" and made.validator_set == validator_set(made.validators)
    assert made.raw == codec.encode(made)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": 1}, "genesis-format"),
        ({"format": 3}, "genesis-format"),
        ({"network": "moon"}, "genesis-network"),
        ({"eras": (Era(1, "pow"),)}, "genesis-eras"),
        ({"eras": (Era(0, "pow"), Era(0, "pbft"))}, "genesis-eras"),
        ({"eras": (Era(0, "pow"), Era(9, "pbft"), Era(5, "pow"))}, "genesis-eras"),
        ({"eras": (Era(0, "pow", (("b", 1), ("a", 1))),)}, "genesis-parameters"),
        ({"eras": (Era(0, "pow", (("a", 1), ("a", 1))),)}, "genesis-parameters"),
        ({"validators": (Validator(A, 1), Validator(A, 2))}, "genesis-validators"),
        ({"validators": (Validator(A, 0), Validator(B, 0))}, "genesis-validators"),
        (
            {
                "validators": tuple(
                    Validator(key_address(n.to_bytes(32, "big")), 1)
                    for n in range(VALIDATORS_MAX + 1)
                )
            },
            "genesis-validators",
        ),
        ({"allocations": (Allocation(A, 1), Allocation(A, 2))}, "genesis-allocations"),
        (
            {"allocations": (Allocation(A, SUPPLY_MAX), Allocation(B, 1))},
            "genesis-allocations",
        ),
    ],
)
def test_an_unsound_genesis(changes, code):
    with pytest.raises(InvalidEncoding) as caught:
        genesis(**changes).check()
    assert caught.value.code == code


def test_eras_by_height():
    eras = (Era(0, "a"), Era(10, "b"), Era(20, "c"))
    assert [era_at(eras, height).engine for height in (0, 9, 10, 19, 20, 10**9)] == list("aabbcc")
    assert ERA.parameter("b") == "x"
    with pytest.raises(KeyError):
        ERA.parameter("c")
