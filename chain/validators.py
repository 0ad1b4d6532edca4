"""Validator sets and the arithmetic of quorums."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Record
from chain.hashing import sha256d

VALIDATORS_MAX = 1_000
"""Members of one set: what a certificate of single signatures can still carry."""


class Validator(Record, frozen=True):
    """A member: its address (a key), its voting weight, and a name for people."""

    address: Address
    weight: Annotated[int, msgspec.Meta(ge=1, le=2**32)]
    name: Annotated[str, msgspec.Meta(max_length=64)] = ""


class ValidatorSet(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True
):
    """The members entitled to decide a height, ordered by address; ``seed`` is 32 bytes or empty.

    Empty for engines that have no members (proof of work).
    """

    members: Annotated[tuple[Validator, ...], msgspec.Meta(max_length=VALIDATORS_MAX)] = ()
    seed: Annotated[bytes, msgspec.Meta(max_length=32)] = b""

    @cached_property
    def hash(self) -> bytes:
        """sha256d of the canonical encoding: what the parent's manifest commits to."""
        return sha256d(codec.encode(self))

    @cached_property
    def by_address(self) -> dict[Address, Validator]:
        return {member.address: member for member in self.members}

    @cached_property
    def index(self) -> dict[Address, int]:
        """Position of each member in address order (the rota's order)."""
        return {member.address: position for position, member in enumerate(self.members)}

    @cached_property
    def total_weight(self) -> int:
        return sum(member.weight for member in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, address: Address) -> bool:
        return address in self.by_address

    def weight_of(self, addresses: Iterable[Address]) -> int:
        """Sum of the weights of the *distinct* members among ``addresses``."""
        by_address = self.by_address
        return sum(by_address[a].weight for a in set(addresses) if a in by_address)


def validator_set(members: Iterable[Validator], seed: bytes = b"") -> ValidatorSet:
    """A set in canonical order; asserts that no address stands in it twice."""
    ordered = tuple(sorted(members, key=lambda member: member.address))
    assert len({member.address for member in ordered}) == len(ordered), "a member twice"
    return ValidatorSet(ordered, seed)


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
