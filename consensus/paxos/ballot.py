"""Ballots: proposal numbers that no two proposers share (Paxos Made Simple, section 2.2).

A ballot is a pair (round, node) and is compared as such: first the round as a number, then the
node's address. So 10 comes after 9, the sets of different proposers are disjoint, and no clock is
needed. A proposer promises its own ballot, durably, before it says it: so none is used twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chain.address import Address
from chain.codec import Record, Uint

NOBODY: Final[Address] = bytes(33)


class Ballot(Record, frozen=True, order=True):
    """A proposal number. ``round`` counts from 1; ``node``: the proposer that owns it."""

    round: Uint
    node: Address


NO_BALLOT: Final = Ballot(0, NOBODY)
"""Below every proposer's ballot: nothing was promised yet."""


def next_ballot(node: Address, seen: Iterable[Ballot]) -> Ballot:
    """The least ballot of ``node`` in a round above all of ``seen``."""
    return Ballot(max((one.round for one in seen), default=0) + 1, node)
