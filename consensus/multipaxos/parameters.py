"""Parameters of ``multipaxos``, as genesis fixes them for an era."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
MillisecondsOrNone = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
Permille = Annotated[int, msgspec.Meta(ge=0, le=500)]


class MultiPaxosParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times are in milliseconds.

    ``lease_ms``: for how long after a leader's renewal an acceptor promises nothing to others. A
    dead leader is missed for so long; a living one must be heard more often than that.
    ``renew_ms``: pause between a leader's renewals; also how soon what was lost is said again.
    ``election_ms``: once the lease has run out, a random time up to this passes before a node asks
    for support, so that one of them is first. It must exceed a few message delays.
    ``election_ms_max``: doubles with each ballot that was refused, up to this ceiling.
    ``drift_permille``: by how much any clock may run too fast or too slow, in thousandths. Reads
    under a lease are linearizable only while this holds; nothing else leans on it.
    ``heartbeat_ms``: after so long without a transaction the leader proposes an empty block; 0: no
    blocks while nothing waits.
    """

    lease_ms: Milliseconds = 800
    renew_ms: Milliseconds = 150
    election_ms: Milliseconds = 250
    election_ms_max: Milliseconds = 4_000
    drift_permille: Permille = 10
    heartbeat_ms: MillisecondsOrNone = 0

    def __post_init__(self) -> None:
        if self.lease_ms < 2 * self.renew_ms:
            raise ValueError("lease_ms is below two renewals: one lost message would end it")
        if self.election_ms_max < self.election_ms:
            raise ValueError("election_ms_max is below election_ms")

    def pause_ms(self, failures: int) -> int:
        """The longest random pause after so many refused ballots of one's own in a row."""
        doublings = min(failures, 32)  # 2**32 ms passes every ceiling
        return min(self.election_ms << doublings, self.election_ms_max)

    @property
    def leader_lease_ms(self) -> int:
        """How long after *sending* a renewal its leader may lean on it.

        The acceptor's clock may run fast by the drift and the leader's slow: the acceptor holds
        at least lease / (1 + d) of true time, and the leader's count must end within that.
        """
        drift = self.drift_permille
        return self.lease_ms * (1_000 - drift) // (1_000 + drift) - 1


DEVNET_PARAMETERS: Final[Mapping[str, int | str]] = {"heartbeat_ms": 2_000}
