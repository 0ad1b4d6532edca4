"""Raft's parameters, as genesis fixes them for an era."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
MillisecondsOrNone = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=50)]
Flag = Annotated[int, msgspec.Meta(ge=0, le=1)]
InFlight = Annotated[int, msgspec.Meta(ge=1, le=64)]


class RaftParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All times are in milliseconds of the steady clock.

    ``election_ms_min`` and ``election_ms_max``: the range from which each election timeout is
    drawn anew (section 5.2). The least of them is also how long a server that heard from a leader
    takes part in no other election (thesis 4.2.3).
    ``heartbeat_ms``: pause between a leader's heartbeats; well below the least timeout (5.6).
    ``blocks_in_flight``: own blocks that a leader has appended and not yet committed, before it
    waits and gathers what comes into the next one. More hides a longer round trip; 1 batches most.
    ``idle_block_ms``: after so long without a transaction the leader appends an empty block; 0:
    none while nothing waits.
    ``lease_reads``: 1: a leader answers reads without a round of messages, on its word that no
    other can have been elected (thesis 6.4.1); right only while clocks keep the bound below.
    ``clock_drift_percent``: by how much two servers' steady clocks may differ in their rate; the
    lease is shortened by it.
    """

    election_ms_min: Milliseconds = 150
    election_ms_max: Milliseconds = 300
    heartbeat_ms: Milliseconds = 50
    blocks_in_flight: InFlight = 4
    idle_block_ms: MillisecondsOrNone = 0
    lease_reads: Flag = 0
    clock_drift_percent: Percent = 10

    def __post_init__(self) -> None:
        if self.election_ms_max <= self.election_ms_min:
            raise ValueError("election_ms_max must be above election_ms_min: timeouts are drawn")
        if self.election_ms_min < 2 * self.heartbeat_ms:
            raise ValueError("election_ms_min must be at least two heartbeats")

    @property
    def lease_ms(self) -> int:
        """How long after a round began no server that answered it votes for another leader."""
        return self.election_ms_min * (100 - self.clock_drift_percent) // 100


DEVNET_PARAMETERS: Final[Mapping[str, int | str]] = {"idle_block_ms": 2_000}
