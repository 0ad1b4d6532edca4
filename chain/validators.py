"""Validator sets and the arithmetic of quorums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Annotated

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Record
from chain.hashing import sha256d

VALIDATORS_MAX = 1_000
"""Members of one set: what a certificate of single signatures can still carry."""
NAME_LENGTH_MAX = 64
"""Characters of a member's name: one line of a table."""
WEIGHT_MAX = 2**32
"""A thousand members of it still sum to less than 63 bits."""


class Validator(Record, frozen=True):
    """A member: its address (a key), its voting weight, and a name for people.

    Of weight 0 it is a *learner*: it receives everything and has no vote (Raft thesis 4.2.1).
    """

    address: Address
    weight: Annotated[int, msgspec.Meta(ge=0, le=WEIGHT_MAX)]
    name: Annotated[str, msgspec.Meta(max_length=NAME_LENGTH_MAX)] = ""


class ValidatorSet(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True
):
    """The members of a height, ordered by address; ``seed`` is 32 bytes or empty.

    Empty for engines that have no members (proof of work). As a collection it is its *voters*,
    the members of weight above 0: ``len`` counts them, ``in`` asks for a vote, ``index`` is the
    place in their rota. ``members`` holds the learners too.

    ``outgoing`` is not empty while a *joint* configuration is in force (Raft section 6, C_old,new):
    it holds the voters of the old set, in address order, and a decision needs a quorum of both
    (``decided_by``). Each of its two halves counts by itself, so somebody in both counts twice.
    """

    members: Annotated[tuple[Validator, ...], msgspec.Meta(max_length=VALIDATORS_MAX)] = ()
    seed: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    outgoing: Annotated[tuple[Validator, ...], msgspec.Meta(max_length=VALIDATORS_MAX)] = ()

    @cached_property
    def hash(self) -> bytes:
        """sha256d of the canonical encoding: what the parent's manifest commits to."""
        return sha256d(codec.encode(self))

    @cached_property
    def voters(self) -> tuple[Validator, ...]:
        """The members with a vote, in address order."""
        return tuple(member for member in self.members if member.weight)

    @cached_property
    def learners(self) -> tuple[Validator, ...]:
        """The members without a vote, in address order."""
        return tuple(member for member in self.members if not member.weight)

    @cached_property
    def by_address(self) -> dict[Address, Validator]:
        """Every member, learners included."""
        return {member.address: member for member in self.members}

    @cached_property
    def index(self) -> dict[Address, int]:
        """Position of each voter in address order (the rota's order)."""
        return {member.address: position for position, member in enumerate(self.voters)}

    @cached_property
    def listed(self) -> frozenset[Address]:
        """Whoever takes part in any way: voters, learners, and the outgoing of a joint set."""
        return frozenset(member.address for member in (*self.members, *self.outgoing))

    @cached_property
    def total_weight(self) -> int:
        return sum(member.weight for member in self.members)

    def __len__(self) -> int:
        return len(self.voters)

    def __contains__(self, address: Address) -> bool:
        return address in self.index

    def decided_by(self, addresses: Iterable[Address], quorum: Callable[[int], int]) -> bool:
        """Whether the voters among ``addresses`` are a quorum, under a joint set of both halves.

        ``quorum(n)``: how many of n voters decide (Properties.quorum). Whoever is listed twice
        counts once in each half; without voters nothing is decided.
        """
        said = set(addresses)
        if not self.voters:
            return False
        return all(
            sum(voter.address in said for voter in half) >= quorum(len(half))
            for half in (self.voters, self.outgoing)
            if half
        )

    def weight_of(self, addresses: Iterable[Address]) -> int:
        """Sum of the weights of the *distinct* members among ``addresses``."""
        by_address = self.by_address
        return sum(by_address[a].weight for a in set(addresses) if a in by_address)


def validator_set(
    members: Iterable[Validator], seed: bytes = b"", outgoing: Iterable[Validator] = ()
) -> ValidatorSet:
    """A set in canonical order; asserts that no address stands twice in either half."""
    return ValidatorSet(_ordered(members), seed, _ordered(outgoing))


def _ordered(members: Iterable[Validator]) -> tuple[Validator, ...]:
    ordered = tuple(sorted(members, key=lambda member: member.address))
    assert len({member.address for member in ordered}) == len(ordered), "a member twice"
    return ordered


def faults_byzantine(n: int) -> int:
    """f = floor((n - 1) / 3): liars that n members bear (PBFT section 3)."""
    return (n - 1) // 3


def quorum_byzantine(n: int) -> int:
    """ceil((n + f + 1) / 2): any two such quorums share an honest member, for *every* n.

    Equal to 2f + 1 only where n = 3f + 1; with n = 5 or 6 it is 4.
    """
    return (n + faults_byzantine(n) + 2) // 2


def faults_crash(n: int) -> int:
    """f = floor((n - 1) / 2): crashed members that n bear."""
    return (n - 1) // 2


def majority(n: int) -> int:
    """The least count of which any two share a member."""
    return n // 2 + 1
