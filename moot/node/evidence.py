"""Contradictions that members were caught in: each is kept, and told to the peers, once."""

from __future__ import annotations

from collections import Counter, OrderedDict

from chain.address import Address
from chain.proof import Evidence

EVIDENCE_MAX = 1_024
"""Pieces of evidence remembered."""
EVIDENCE_PER_MEMBER_MAX = 32
"""Of these, how many against one member. One convicts; a member that contradicts itself in every
slot must not fill the links of all others with what it did."""


class EvidenceBook:
    """Bounded, and for each guilty member too; the oldest go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Evidence, Address] = OrderedDict()
        self._against: Counter[Address] = Counter()

    def __contains__(self, evidence: Evidence) -> bool:
        return evidence in self._kept

    def add(self, evidence: Evidence, guilty: Address) -> bool:
        """Whether it is news that others should hear."""
        if evidence in self._kept or self._against[guilty] >= EVIDENCE_PER_MEMBER_MAX:
            return False
        self._kept[evidence] = guilty
        self._against[guilty] += 1
        if len(self._kept) > EVIDENCE_MAX:
            _, forgotten = self._kept.popitem(last=False)
            self._against[forgotten] -= 1
        return True

    def all(self) -> tuple[Evidence, ...]:
        """Oldest first."""
        return tuple(self._kept)
