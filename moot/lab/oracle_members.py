"""The naive oracle's members: who may vote, what they wish, and what becomes of it.

The most obvious way: one dictionary of votes, counted from the start each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from chain.address import KEY, Address
from chain.changes import LeaveJoint, StateChange
from chain.genesis import Genesis
from chain.membership import OPEN_VOTES_MAX, VOTE_BLOCKS, MembershipRules, shows
from chain.transaction import LEARNER, OUT, VOTER, WITHDRAWN, MembershipVote
from chain.validators import VALIDATORS_MAX, ValidatorSet

Standing = tuple[int, str]
"""A member's weight and name; weight 0: a learner."""


NaiveSet = tuple[dict[Address, Standing], dict[Address, Standing]]
"""Members, and the outgoing voters of a joint set."""


class Vote(NamedTuple):
    """What one voter wishes for one subject (None: out), and where it said so."""

    wished: Standing | None
    height: int


class Kept(NamedTuple):
    """Members, outgoing and votes as they were."""

    members: dict[Address, Standing]
    outgoing: dict[Address, Standing]
    votes: dict[tuple[Address, Address], Vote]


class NaiveMembers:
    """Members by address, open votes by (voter, subject), and the set after every height."""

    def __init__(self, genesis: Genesis, rules: MembershipRules) -> None:
        self._rules, self._lag = rules, genesis.limits.validator_lag
        self.members: dict[Address, Standing] = {
            each.address: (each.weight, each.name) for each in genesis.validators
        }
        self.outgoing: dict[Address, Standing] = {}
        self._votes: dict[tuple[Address, Address], Vote] = {}
        self._after: list[NaiveSet] = []
        self.close(())

    def close(self, changes: Iterable[StateChange]) -> None:
        """A block ends. Raises ValueError where it leaves a joint set that is not there."""
        if any(isinstance(change, LeaveJoint) for change in changes):
            if not self.outgoing:
                raise ValueError("no joint configuration to leave")
            self.outgoing = {}
        self._after.append((dict(self.members), dict(self.outgoing)))

    def decides(self, height: int) -> NaiveSet:
        """Members and outgoing voters that decide ``height``: as of ``lag`` blocks before."""
        return self._after[max(0, height - self._lag)]

    def kept(self) -> Kept:
        """What ``restore`` goes back to."""
        return Kept(dict(self.members), dict(self.outgoing), dict(self._votes))

    def restore(self, kept: Kept) -> None:
        self.members, self.outgoing, self._votes = kept

    def vote(self, sender: Address, vote: MembershipVote, height: int) -> str:
        """The code of what forbids it, or empty and it is done."""
        subject = vote.subject
        voters = [address for address, (weight, _) in self.members.items() if weight]
        code = self._forbidden(sender, voters, vote)
        if code:
            return code
        self._votes = {
            place: each
            for place, each in self._votes.items()
            if each.height + VOTE_BLOCKS >= height and place[0] in voters
        }
        if vote.standing == WITHDRAWN:
            return "" if self._votes.pop((sender, subject), None) else "no-vote"
        others = [place for place in self._votes if place[0] == sender and place[1] != subject]
        if len(others) >= OPEN_VOTES_MAX:
            return "too-many-votes"
        wished = None if vote.standing == OUT else (vote.weight, vote.name)
        self._votes[sender, subject] = Vote(wished, height)
        agreeing = [v for v in voters if self._wishes(v, subject) == (wished,)]
        if len(agreeing) >= self._rules.quorum(len(voters)):
            self._change(subject, wished)
        return ""

    def _wishes(self, voter: Address, subject: Address) -> tuple[Standing | None] | None:
        found = self._votes.get((voter, subject))
        return None if found is None else (found.wished,)

    def _forbidden(self, sender: Address, voters: list[Address], vote: MembershipVote) -> str:
        standing, subject = vote.standing, vote.subject
        staying = standing in (LEARNER, VOTER)
        wished = (vote.weight, vote.name) if staying else None
        verdicts = {
            "membership-fixed": self._rules.change == "none",
            "not-a-member": sender not in voters,
            "change-in-progress": bool(self.outgoing),
            "unknown-standing": standing not in (OUT, LEARNER, VOTER, WITHDRAWN),
            "unknown-subject-kind": subject[0] != KEY,
            "bad-weight": bool(vote.weight) != (standing == VOTER),
            "bad-name": bool(vote.name) and not (staying and shows(vote.name)),
            "no-change": standing != WITHDRAWN and self.members.get(subject) == wished,
            "last-voter": standing in (OUT, LEARNER) and voters == [subject],
            "too-many-members": (
                staying and subject not in self.members and len(self.members) >= VALIDATORS_MAX
            ),
        }
        return next((code for code, holds in verdicts.items() if holds), "")

    def _change(self, subject: Address, wished: Standing | None) -> None:
        before = {each: who for each, who in self.members.items() if who[0]}
        if wished is None:
            del self.members[subject]
        else:
            self.members[subject] = wished
        after = {each: who for each, who in self.members.items() if who[0]}
        decided_by = [
            {address: who[0] for address, who in each.items()} for each in (before, after)
        ]
        if self._rules.change == "joint" and decided_by[0] != decided_by[1]:
            self.outgoing = before
        self._votes = {
            (voter, about): each
            for (voter, about), each in self._votes.items()
            if about != subject and voter in after
        }


def as_naive(validators: ValidatorSet) -> NaiveSet:
    """A set in the oracle's form, to be compared."""
    return (
        {each.address: (each.weight, each.name) for each in validators.members},
        {each.address: (each.weight, each.name) for each in validators.outgoing},
    )
