"""Members by transaction: what a vote does, what it cannot do, and what enough of them do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.address import POLICY, Address
from chain.changes import LeaveJoint
from chain.errors import InvalidEncoding
from chain.execution import BlockExecution, Receipt, fee_min
from chain.genesis import Limits
from chain.ledger import genesis_state
from chain.membership import (
    OPEN_VOTES_MAX,
    VOTE_BLOCKS,
    MembershipChange,
    MembershipRules,
    open_wishes,
)
from chain.state.accounts import (
    VALIDATORS_KEY,
    encode_validators,
    get_open_votes,
    get_validators,
    open_votes_key,
)
from chain.transaction import (
    ATOMIC,
    BUNDLE,
    LEARNER,
    OUT,
    VOTER,
    WITHDRAWN,
    Action,
    MembershipVote,
    Transaction,
    Transfer,
    parse_transaction,
)
from chain.validators import VALIDATORS_MAX, Validator, majority, quorum_byzantine, validator_set
from moot.lab.oracle_members import NaiveMembers, as_naive
from tests.support.chains import FEE, address, make_genesis, make_transaction

CHAIN = bytes(32)
MEMBERS = 4
STRANGER = 7
"""Number of an account that is no member; 0 to 3 are members named v0 to v3."""
RULES = {
    change: MembershipRules(change, quorum)
    for change, quorum in (("none", majority), ("at-once", quorum_byzantine), ("joint", majority))
}


class House:
    """A chain's state as blocks of votes change it."""

    def __init__(self, change: MembershipChange = "at-once", members: int = MEMBERS) -> None:
        self.genesis = make_genesis(accounts=12, validators=members)
        self.rules = RULES[change]
        self.state = genesis_state(self.genesis)
        self.height = 0
        self._nonces: dict[int, int] = {}

    def begin(self, height: int | None = None) -> BlockExecution:
        self.height = self.height + 1 if height is None else height
        return BlockExecution(
            self.state,
            chain_id=CHAIN,
            limits=self.genesis.limits,
            height=self.height,
            time_ms=1,
            producer=address(9),
            membership=self.rules,
        )

    def transaction(self, sender: int, *actions: Action, mode: int = ATOMIC) -> Transaction:
        nonce = self._nonces.get(sender, 0)
        self._nonces[sender] = nonce + 1
        fee = 2_000 * len(actions)
        return make_transaction(
            CHAIN, sender, nonce, list(actions), mode=mode, fee=fee, signed=False
        )

    def block(
        self, *votes: tuple[int, Action], leave: bool = False, height: int | None = None
    ) -> list[str]:
        """Executes one block of single votes and takes it back and forth; the receipts' codes."""
        execution = self.begin(height)
        receipts = [execution.apply(self.transaction(who, action)) for who, action in votes]
        executed = execution.finish((LeaveJoint(),) if leave else ())
        assert executed.state.update(executed.undo).root == self.state.root
        self.state = executed.state
        return [receipt.code for receipt in receipts]

    @property
    def names(self) -> list[str]:
        return sorted(voter.name for voter in get_validators(self.state).voters)


def add(subject: int, weight: int = 1, name: str = "new") -> MembershipVote:
    return MembershipVote(address(subject), VOTER, weight, name)


def learn(subject: int, name: str = "") -> MembershipVote:
    return MembershipVote(address(subject), LEARNER, 0, name)


def remove(subject: int) -> MembershipVote:
    return MembershipVote(address(subject), OUT)


def withdraw(subject: int) -> MembershipVote:
    return MembershipVote(address(subject), WITHDRAWN)


def test_a_quorum_of_the_voters_admits_a_member() -> None:
    house = House()
    assert house.block((0, add(5)), (1, add(5))) == ["", ""]
    assert house.names == ["v0", "v1", "v2", "v3"], "two of four are no quorum"
    assert house.block((2, add(5))) == [""]
    assert house.names == ["new", "v0", "v1", "v2", "v3"]
    assert all(not get_open_votes(house.state, address(n)) for n in range(4)), "votes are spent"
    assert house.block((5, add(6))) == [""], "it votes now"


def test_one_voice_counts_once() -> None:
    house = House()
    assert house.block(*[(0, add(5))] * 5) == [""] * 5
    assert house.block((0, add(5)), (1, add(5))) == ["", ""]
    assert len(house.names) == 4


def test_different_wishes_are_counted_apart() -> None:
    house = House()
    house.block((0, add(5)), (1, add(5, weight=2)), (2, add(5, name="other")), (3, learn(5)))
    assert house.names == ["v0", "v1", "v2", "v3"]
    assert len(open_wishes(house.state, 2)) == 4


def test_a_new_vote_replaces_the_old_one_and_a_withdrawal_takes_it_back() -> None:
    house = House()
    house.block((0, add(5)), (1, add(5)), (0, learn(5)), (1, withdraw(5)))
    assert house.block((2, add(5)), (3, add(5))) == ["", ""]
    assert house.names == ["v0", "v1", "v2", "v3"], "only two still wish it"
    assert house.block((1, withdraw(5)), (3, withdraw(6))) == ["no-vote", "no-vote"]


def test_votes_expire() -> None:
    house = House()
    house.block((0, add(5)), (1, add(5)))
    last = 1 + VOTE_BLOCKS
    assert len(open_wishes(house.state, last)) == 1 and open_wishes(house.state, last + 1) == ()
    late = House()
    late.block((0, add(5)), (1, add(5)))
    late.block((2, add(5)), height=last)
    assert "new" in late.names, "in the last block in which they count"
    house.block((2, add(5)), height=last + 1)
    assert "new" not in house.names
    assert house.block((0, withdraw(5)), height=last + 2) == ["no-vote"]
    house.block((0, add(5)), (1, add(5)), height=last + 3)
    assert "new" in house.names, "the third vote is of one block later, and counts"


def test_votes_of_former_members_count_no_more() -> None:
    house = House()
    house.block((3, add(5)), (0, remove(3)), (1, remove(3)), (2, remove(3)))
    assert house.names == ["v0", "v1", "v2"]
    assert house.state.get(open_votes_key(address(3))) is None
    assert house.block((3, add(5))) == ["not-a-member"]
    assert house.block((0, add(5))) == [""]
    assert "new" not in house.names, "two of three are needed, and the other one left"
    assert house.block((1, add(5))) == [""] and "new" in house.names


def test_who_comes_back_comes_without_votes() -> None:
    house = House()
    house.block((3, add(5)), *((n, remove(3)) for n in range(3)), *((n, add(3)) for n in range(3)))
    assert house.names == ["new", "v0", "v1", "v2"]
    house.block((0, add(5)), (1, add(5)))
    assert address(5) not in get_validators(house.state).by_address, "three of four are needed"


def test_votes_are_counted_when_one_is_cast() -> None:
    """A smaller set may need fewer votes; the wish waits for the next vote for it."""
    house = House(members=5)
    house.block(*((n, add(6)) for n in range(3)))
    house.block(*((n, remove(4)) for n in range(4)))
    assert house.names == ["v0", "v1", "v2", "v3"], "three of four would be enough now"
    house.block((0, add(6)))
    assert "new" in house.names, "the same vote again, and all are counted"


@pytest.mark.parametrize(
    ("vote", "code"),
    [
        (MembershipVote(address(5), 4), "unknown-standing"),
        (MembershipVote(bytes([POLICY]) + bytes(32), VOTER, 1), "unknown-subject-kind"),
        (MembershipVote(address(5), VOTER, 0), "bad-weight"),
        (MembershipVote(address(5), LEARNER, 1), "bad-weight"),
        (MembershipVote(address(1), OUT, 1), "bad-weight"),
        (MembershipVote(address(1), OUT, 0, "bye"), "bad-name"),
        (MembershipVote(address(5), VOTER, 1, "tab\t"), "bad-name"),
        (MembershipVote(address(5), VOTER, 1, "\u202eevil"), "bad-name"),
        (MembershipVote(address(1), WITHDRAWN, 0, "x"), "bad-name"),
        (MembershipVote(address(1), VOTER, 1, "v1"), "no-change"),
        (MembershipVote(address(5), OUT), "no-change"),
        (MembershipVote(address(5), WITHDRAWN), "no-vote"),
    ],
)
def test_a_vote_that_cannot_count_is_refused_and_changes_nothing(
    vote: MembershipVote, code: str
) -> None:
    house = House()
    house.block((0, add(6)))
    before = open_wishes(house.state, 2)
    assert house.block((0, vote)) == [code]
    assert open_wishes(house.state, 3) == before


def test_only_voters_vote() -> None:
    house = House()
    assert house.block((STRANGER, add(STRANGER))) == ["not-a-member"]
    house.block(*((n, learn(STRANGER)) for n in range(3)))
    assert get_validators(house.state).learners == (Validator(address(STRANGER), 0),)
    assert house.block((STRANGER, add(STRANGER))) == ["not-a-member"]


def test_where_members_are_fixed_no_vote_is_taken() -> None:
    assert House("none").block((0, add(5))) == ["membership-fixed"]


def test_a_learner_is_promoted_and_a_voter_demoted() -> None:
    house = House()
    house.block(*((n, learn(5, "e")) for n in range(3)))
    house.block(*((n, add(5, 9, "e")) for n in range(3)))
    assert get_validators(house.state).by_address[address(5)] == Validator(address(5), 9, "e")
    assert house.block(*((n, learn(5, "e")) for n in range(4))) == [""] * 4
    assert get_validators(house.state).by_address[address(5)].weight == 0


def test_the_last_voter_stays() -> None:
    house = House(members=1)
    assert house.block((0, remove(0))) == ["last-voter"]
    assert house.block((0, learn(0, "v0"))) == ["last-voter"]
    assert house.block((0, learn(5))) == [""], "a quorum of one"
    assert house.block((0, remove(0))) == ["last-voter"], "a learner cannot decide"
    assert house.block((0, add(5))) == [""]
    assert house.block((0, remove(0)), (5, remove(0))) == ["", ""]
    assert house.names == ["new"]


def with_members(house: House, members: Sequence[Validator]) -> None:
    entry = {VALIDATORS_KEY: encode_validators(validator_set(members))}
    house.state = house.state.update(entry)


def test_a_full_set_takes_no_more() -> None:
    house = House(members=1)
    others = [Validator(address(n + 100), 0) for n in range(VALIDATORS_MAX - 1)]
    with_members(house, [Validator(address(0), 1), *others])
    assert house.block((0, learn(5)), (0, add(5))) == ["too-many-members"] * 2
    assert house.block((0, add(100)), (0, remove(101))) == ["", ""]


def test_one_voter_has_few_open_votes() -> None:
    house = House()
    votes = [(0, learn(20 + n)) for n in range(OPEN_VOTES_MAX)]
    assert house.block(*votes, (0, learn(99))) == [""] * OPEN_VOTES_MAX + ["too-many-votes"]
    assert house.block((0, add(20))) == [""], "a subject that it has voted on already"
    assert house.block((1, learn(99))) == [""], "nobody else is kept from voting"
    assert house.block((0, learn(99)), height=1 + VOTE_BLOCKS + 1) == [""], "expired ones are gone"
    assert len(get_open_votes(house.state, address(0))) == 2


# ------------------------------------------------------------------------------------------ joint


def test_a_joint_change_keeps_the_old_voters_until_it_is_left() -> None:
    house = House("joint", members=3)
    assert house.block((0, add(5)), (1, add(5)), (2, add(6))) == ["", "", "change-in-progress"]
    joint = get_validators(house.state)
    assert sorted(voter.name for voter in joint.outgoing) == ["v0", "v1", "v2"]
    assert len(joint.voters) == 4
    assert house.block((2, withdraw(5))) == ["change-in-progress"]
    house.block(leave=True)
    assert get_validators(house.state) == validator_set(joint.members)
    assert house.block((2, add(6))) == [""]


def test_learners_and_names_need_no_joint_configuration() -> None:
    house = House("joint", members=3)
    house.block((0, learn(5)), (1, learn(5)), (0, add(2, 1, "renamed")), (1, add(2, 1, "renamed")))
    found = get_validators(house.state)
    assert not found.outgoing and found.learners and "renamed" in house.names
    house.block((0, add(5)), (1, add(5)))
    assert len(get_validators(house.state).outgoing) == 3, "a promotion does"


def test_outgoing_voters_alone_are_kept() -> None:
    house = House("joint", members=3)
    house.block((0, learn(5)), (1, learn(5)))
    house.block((0, remove(2)), (1, remove(2)))
    joint = get_validators(house.state)
    assert len(joint.outgoing) == 3 and all(voter.weight for voter in joint.outgoing)
    assert address(2) in joint.listed and address(2) not in joint


# ------------------------------------------------------------------- several actions, other actions


def apply(house: House, *actions: Action, mode: int) -> Receipt:
    execution = house.begin()
    receipt = execution.apply(house.transaction(0, *actions, mode=mode))
    house.state = execution.finish(()).state
    return receipt


def test_an_atomic_transaction_takes_its_votes_back() -> None:
    house = House(members=1)
    receipt = apply(house, add(5), Transfer(address(1), 2**62), mode=ATOMIC)
    assert [result.code for result in receipt.results] == ["undone", "insufficient-funds"]
    assert house.names == ["v0"]
    receipt = apply(house, add(5), Transfer(address(1), 2**62), mode=BUNDLE)
    assert [result.code for result in receipt.results] == ["", "insufficient-funds"]
    assert house.names == ["new", "v0"]


def test_an_undone_vote_leaves_earlier_ones_of_the_block_alone() -> None:
    house = House(members=1)
    execution = house.begin()
    assert execution.apply(house.transaction(0, learn(5))).ok
    assert not execution.apply(house.transaction(0, learn(6), remove(0))).ok
    executed = execution.finish(())
    found = get_validators(executed.state)
    assert [learner.address for learner in found.learners] == [address(5)]
    assert set(executed.writes) >= {VALIDATORS_KEY}


def test_a_vote_costs_its_fee_and_pays_nobody() -> None:
    house = House()
    execution = house.begin()
    before = execution.account(address(0)).balance
    receipt = execution.apply(house.transaction(0, add(5)))
    assert receipt.ok and receipt.fee == 2_000
    assert execution.account(address(0)).balance == before - 2_000
    assert house.transaction(0, add(5), Transfer(address(1), 3)).transfers == (
        Transfer(address(1), 3),
    )


# ------------------------------------------------------------------------------ against the oracle

PEOPLE = 6
standings = st.sampled_from((OUT, LEARNER, VOTER, VOTER, WITHDRAWN, 9))
votes = st.builds(
    MembershipVote,
    st.integers(0, PEOPLE - 1).map(address),
    standings,
    st.sampled_from((0, 1, 1, 1, 2)),
    st.sampled_from(("", "", "", "n", "\x07")),
)
actions = votes | st.builds(Transfer, st.just(address(1)), st.sampled_from((1, 2**62)))
transactions = st.tuples(
    st.integers(0, PEOPLE - 1), st.lists(actions, min_size=1, max_size=3), st.sampled_from((0, 1))
)
steps = st.tuples(st.lists(transactions, max_size=6), st.sampled_from((1, 1, 1, VOTE_BLOCKS)))


def naively(
    naive: NaiveMembers, house: House, sender: Address, transaction: Transaction
) -> list[bool]:
    """Whether each vote among its actions was done, by the oracle."""
    kept, codes = naive.kept(), []
    for action in transaction.actions:
        if isinstance(action, MembershipVote):
            codes.append(naive.vote(sender, action, house.height))
        else:
            codes.append("insufficient-funds" if action.amount == 2**62 else "")
        if codes[-1] and transaction.mode == ATOMIC:
            naive.restore(kept)
            return [False] * len(transaction.actions)
    return [not code for code in codes]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(("at-once", "joint")), st.integers(1, 4), st.lists(steps, max_size=8))
def test_any_votes_do_what_the_naive_oracle_says(change, members, blocks) -> None:
    house = House(change, members)
    naive = NaiveMembers(house.genesis, house.rules)
    for listed, further in blocks:
        execution = house.begin(house.height + further)
        for who, what, mode in listed:
            transaction = house.transaction(who, *what, mode=mode)
            receipt = execution.apply(transaction)
            expected = naively(naive, house, address(who), transaction)
            assert [result.ok for result in receipt.results] == expected
        leave = bool(naive.outgoing) and house.height % 2 == 0
        changes = (LeaveJoint(),) if leave else ()
        executed = execution.finish(changes)
        naive.close(changes)
        assert executed.state.update(executed.undo).root == house.state.root
        house.state = executed.state
        found = get_validators(house.state)
        assert as_naive(found) == (naive.members, naive.outgoing)
        assert found.voters and found == validator_set(found.members, b"", found.outgoing)


# ------------------------------------------------------------------------------ hostile encodings


@pytest.mark.parametrize(
    "vote",
    [
        MembershipVote(address(5)[:32], VOTER, 1),
        MembershipVote(address(5) + b"x", VOTER, 1),
        MembershipVote(address(5), -1),
        MembershipVote(address(5), 256),
        MembershipVote(address(5), VOTER, -1),
        MembershipVote(address(5), VOTER, 2**32 + 1),
        MembershipVote(address(5), VOTER, 1, "n" * 65),
    ],
)
def test_a_vote_out_of_bounds_is_no_transaction(vote: MembershipVote) -> None:
    raw = make_transaction(CHAIN, 0, 0, [vote], signed=False).raw
    with pytest.raises(InvalidEncoding):
        parse_transaction(raw)


def test_the_least_fee_pays_for_a_vote() -> None:
    longest = MembershipVote(address(5), VOTER, 2**32, "n" * 64)
    assert fee_min(make_transaction(CHAIN, 0, 0, [longest]).size, Limits()) <= FEE
