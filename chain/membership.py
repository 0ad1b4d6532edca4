"""Members by transaction: the open votes of the members, and how a wish of enough takes effect.

Every voter may say, by a transaction from its account, what a subject should be: a voter with a
weight, a learner, or out. As soon as a quorum of the voters hold the same wish it takes effect in
the state, in the way of the engine that rules the block (MembershipRules.change):

- "none": no vote is taken.
- "at-once": the state's set changes with the block; it decides heights ``validator_lag`` later.
- "joint": where the voters change, the state's set becomes a joint one (its ``outgoing`` are the
  old voters), and no vote is taken until the engine's claims leave it (Raft section 6). Learners
  and names decide nothing, so they change at once here too.

Votes are counted when one is cast: expired ones and those of former voters do not count, and what a
shrunken set would make a quorum takes effect with the next vote for it. A voter's new vote on a
subject replaces its old one.

=======================  ======================================================================
code                     when
=======================  ======================================================================
"membership-fixed"       no vote changes the members of this chain
"not-a-member"           the sender is no voter in the state's set
"change-in-progress"     a joint configuration has not been left yet
"unknown-standing"       neither out, learner, voter nor withdrawn
"unknown-subject-kind"   the subject is not an address that is a key
"bad-weight"             0 for a voter, or not 0 for anything else
"bad-name"               a name for somebody who leaves, or one with characters that do not show
"no-change"              the subject is what is wished already
"no-vote"                there is no open vote to withdraw
"last-voter"             nobody would be left to decide
"too-many-members"       VALIDATORS_MAX are members
"too-many-votes"         the sender has OPEN_VOTES_MAX open votes on other subjects
=======================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from chain.address import KEY, Address
from chain.errors import InvalidBlock
from chain.state.accounts import (
    VALIDATORS_KEY,
    OpenVote,
    StateReader,
    encode_open_votes,
    encode_validators,
    get_open_votes,
    get_validators,
    open_votes_key,
)
from chain.transaction import LEARNER, OUT, VOTER, WITHDRAWN, MembershipVote
from chain.validators import VALIDATORS_MAX, Validator, ValidatorSet, validator_set

MembershipChange = Literal["none", "at-once", "joint"]
"""How a wish of enough voters takes effect: see the module."""

VOTE_BLOCKS: Final = 30_000
"""Blocks after its own in which a vote counts: Clique's epoch (EIP-225), a week at 20 s."""
OPEN_VOTES_MAX: Final = 16
"""Open votes of one voter: more changes at a time nobody oversees, and each is state."""

_HIDDEN: Final = (
    *((0x00, 0x1F), (0x7F, 0xA0), (0xAD, 0xAD), (0x061C, 0x061C), (0x180E, 0x180E)),
    *((0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFE00, 0xFE0F)),
    *((0xFEFF, 0xFEFF), (0xFFF0, 0xFFFF), (0xE0000, 0xE0FFF)),
)
"""Ranges of characters that no name holds: controls, marks that turn the direction of writing or
show as nothing. Written down, since a library's idea of them changes with its Unicode version."""


class MembershipRules(NamedTuple):
    """What of an engine's Properties execution needs: ``membership`` and ``quorum``."""

    change: MembershipChange
    quorum: Callable[[int], int]


FIXED: Final = MembershipRules("none", lambda voters: 0)
"""Of engines whose members no transaction changes."""


class Wish(NamedTuple):
    """What a vote asks for; votes for equal wishes are counted together."""

    subject: Address
    standing: int
    weight: int
    name: str


class Counted(NamedTuple):
    """A wish that somebody holds, for listings: who holds it, and until which height each."""

    wish: Wish
    holders: tuple[tuple[Address, int], ...]


class MembershipBook:
    """The state's validator set and open votes, as one block changes them."""

    def __init__(self, state: StateReader, rules: MembershipRules, height: int) -> None:
        self._state, self._rules, self._height = state, rules, height
        self._set_before = self.validators = get_validators(state)
        # By voter: as the parent's state has them, and as they are now. Filled at the first vote.
        self._before: dict[Address, tuple[OpenVote, ...]] = {}
        self._votes: dict[Address, tuple[OpenVote, ...]] = {}
        self._tallies: dict[Wish, frozenset[Address]] | None = None

    def copy(self) -> MembershipBook:
        """One to try a transaction's actions on; everything inside is replaced, never changed."""
        other = MembershipBook.__new__(MembershipBook)
        other.__dict__.update(self.__dict__)
        other._before, other._votes = dict(self._before), dict(self._votes)
        other._tallies = None if self._tallies is None else dict(self._tallies)
        return other

    def cast(self, voter: Address, vote: MembershipVote) -> str:
        """Takes a vote, and the wish where that makes a quorum; else the code of what forbids it.

        A refused vote changes nothing.
        """
        code = self._refusal(voter, vote)
        if code:
            return code
        tallies = self._loaded()
        held = self._open(voter)
        others = tuple(each for each in held if each.subject != vote.subject)
        if vote.standing == WITHDRAWN:
            if len(others) == len(held):
                return "no-vote"
            self._put(voter, others)
            return ""
        if len(others) >= OPEN_VOTES_MAX:
            return "too-many-votes"
        wish = Wish(vote.subject, vote.standing, vote.weight, vote.name)
        self._put(voter, (*others, OpenVote(*wish, self._height)))
        quorum = self._rules.quorum(len(self.validators))
        assert quorum > 0, "an engine whose members change by votes has a quorum"
        if len(tallies[wish]) >= quorum:
            self._take_effect(wish)
        return ""

    def leave_joint(self) -> None:
        """Raises InvalidBlock ("not-joint") where no joint configuration is there to be left."""
        if not self.validators.outgoing:
            raise InvalidBlock("not-joint", "no joint configuration is there to be left")
        self.validators = replace(self.validators, outgoing=())

    def changes(self) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
        """(state key, before, after) of all that the block changed here."""
        if self.validators != self._set_before:
            before, after = self._set_before, self.validators
            yield VALIDATORS_KEY, encode_validators(before), encode_validators(after)
        for voter, votes in self._votes.items():
            if votes != self._before[voter]:
                old, new = encode_open_votes(self._before[voter]), encode_open_votes(votes)
                yield open_votes_key(voter), old, new

    def _refusal(self, voter: Address, vote: MembershipVote) -> str:
        standing = vote.standing
        if self._rules.change == "none":
            return "membership-fixed"
        if voter not in self.validators:
            return "not-a-member"
        if self.validators.outgoing:
            return "change-in-progress"
        if standing not in (OUT, LEARNER, VOTER, WITHDRAWN):
            return "unknown-standing"
        if vote.subject[0] != KEY:
            return "unknown-subject-kind"
        if (vote.weight > 0) != (standing == VOTER):
            return "bad-weight"
        if vote.name and (standing not in (LEARNER, VOTER) or not shows(vote.name)):
            return "bad-name"
        return "" if standing == WITHDRAWN else self._useless(vote)

    def _useless(self, vote: MembershipVote) -> str:
        """Why the wish, if it came true, would change nothing or break the set."""
        now = self.validators.by_address.get(vote.subject)
        wished = None
        if vote.standing != OUT:
            wished = Validator(vote.subject, vote.weight, vote.name)
        if now == wished:
            return "no-change"
        if vote.standing != VOTER and all(
            v.address == vote.subject for v in self.validators.voters
        ):
            return "last-voter"
        if now is None and len(self.validators.members) >= VALIDATORS_MAX:
            return "too-many-members"
        return ""

    def _loaded(self) -> dict[Wish, frozenset[Address]]:
        """Who holds which wish; open votes of present voters only."""
        if self._tallies is None:
            self._tallies = {}
            for voter in self.validators.voters:
                votes = get_open_votes(self._state, voter.address)
                self._before[voter.address] = self._votes[voter.address] = votes
                for wish in map(_wish, self._open(voter.address)):
                    holders = self._tallies.get(wish, frozenset())
                    self._tallies[wish] = holders | {voter.address}
        return self._tallies

    def _open(self, voter: Address) -> tuple[OpenVote, ...]:
        return tuple(each for each in self._votes[voter] if is_open(each, self._height))

    def _put(self, voter: Address, votes: tuple[OpenVote, ...]) -> None:
        """``votes``, none of them expired, become the voter's."""
        tallies = self._tallies
        assert tallies is not None
        for gone in self._votes[voter]:
            wish = _wish(gone)
            tallies[wish] = tallies.get(wish, frozenset()) - {voter}
        for come in votes:
            wish = _wish(come)
            tallies[wish] = tallies.get(wish, frozenset()) | {voter}
        self._votes[voter] = votes

    def _take_effect(self, wish: Wish) -> None:
        old = self.validators
        members = [member for member in old.members if member.address != wish.subject]
        if wish.standing != OUT:
            members.append(Validator(wish.subject, wish.weight, wish.name))
        new = validator_set(members, old.seed)
        if self._rules.change == "joint" and _deciding(new) != _deciding(old):
            new = replace(new, outgoing=old.voters)
        self.validators = new
        for voter in old.voters:
            kept = tuple(v for v in self._open(voter.address) if v.subject != wish.subject)
            self._put(voter.address, kept if voter.address in new else ())
        for voter in new.voters:
            if voter.address not in self._before:
                # The state holds no votes of learners, strangers and former voters.
                self._before[voter.address] = self._votes[voter.address] = ()


def is_open(vote: OpenVote, height: int) -> bool:
    """Whether a vote still counts in a block at ``height``."""
    return height <= vote.height + VOTE_BLOCKS


def open_wishes(state: StateReader, height: int) -> tuple[Counted, ...]:
    """What the voters of ``state`` wish, for the next block ``height``; ordered by wish."""
    holders: dict[Wish, list[tuple[Address, int]]] = {}
    for voter in get_validators(state).voters:
        for vote in get_open_votes(state, voter.address):
            if is_open(vote, height):
                until = vote.height + VOTE_BLOCKS
                holders.setdefault(_wish(vote), []).append((voter.address, until))
    return tuple(Counted(wish, tuple(holders[wish])) for wish in sorted(holders))


def shows(name: str) -> bool:
    """Whether every character of a name shows as what it is."""
    return not any(low <= ord(each) <= high for each in name for low, high in _HIDDEN)


def _wish(vote: OpenVote) -> Wish:
    return Wish(vote.subject, vote.standing, vote.weight, vote.name)


def _deciding(validators: ValidatorSet) -> tuple[tuple[Address, int], ...]:
    """What of a set decides: its voters and their weights."""
    return tuple((voter.address, voter.weight) for voter in validators.voters)
