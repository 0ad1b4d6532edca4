"""Parameters of ``paxos``, as genesis fixes them for an era."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
MillisecondsOrNone = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]


class PaxosParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All times are in milliseconds.

    ``spread_ms``: a node that has something to propose waits a random time up to this, so that
    one of them is first. About two message delays are enough.
    ``retry_ms``: how long a ballot has before its proposer begins a higher one, and how long others
    leave it the floor; a random time up to as much again comes on top. It must exceed four message
    delays, three disk syncs and one block's execution.
    ``retry_ms_max``: the pause doubles with each ballot that fails, up to this ceiling, and
    starts anew with every decision.
    ``heartbeat_ms``: after so long without a transaction an empty block is proposed; 0: no blocks
    while nothing waits.
    """

    spread_ms: Milliseconds = 20
    retry_ms: Milliseconds = 250
    retry_ms_max: Milliseconds = 8_000
    heartbeat_ms: MillisecondsOrNone = 0

    def __post_init__(self) -> None:
        if self.retry_ms_max < self.retry_ms:
            raise ValueError("retry_ms_max is below retry_ms")

    def pause_ms(self, failures: int) -> int:
        """The pause after so many ballots of one's own in a row that decided nothing."""
        doublings = min(failures, 32)  # 2**32 ms passes every ceiling
        return min(self.retry_ms << doublings, self.retry_ms_max)


DEVNET_PARAMETERS: Final[Mapping[str, int | str]] = {"heartbeat_ms": 2_000}
