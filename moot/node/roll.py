"""Who has a part in the chain, now and as far ahead as the sets are fixed.

The set in force decides the next block; the ones after it are fixed already, up to the state's own
(``validator_lag`` blocks ahead). A new member speaks of the first height that it decides while
others may still be a block or two behind, so whoever is listed in any of these sets is heard and
may link. A former member is in none of them.
"""

from __future__ import annotations

from chain.address import Address
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.validators import ValidatorSet


class Roll:
    """The sets from the one in force on, looked up once for each head."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._head: BlockId | None = None
        self._sets: tuple[ValidatorSet, ...] = ()
        self._speakers: frozenset[Address] = frozenset()
        self._listed: frozenset[Address] = frozenset()

    @property
    def sets(self) -> tuple[ValidatorSet, ...]:
        """The one in force first, the newest last; none of them equal."""
        self._look()
        return self._sets

    @property
    def speakers(self) -> frozenset[Address]:
        """Who has a vote, also in the old half of a joint set; empty where nobody is listed."""
        self._look()
        return self._speakers

    @property
    def listed(self) -> frozenset[Address]:
        """Speakers and learners."""
        self._look()
        return self._listed

    def _look(self) -> None:
        head = self._ledger.head()
        if head == self._head:
            return
        self._head = head
        sets = tuple(dict.fromkeys(self._ledger.validators_ahead(head)))
        if sets == self._sets:
            return
        self._sets = sets
        self._listed = frozenset().union(*(each.listed for each in sets))
        self._speakers = frozenset(
            voter.address for each in sets for voter in (*each.voters, *each.outgoing)
        )
