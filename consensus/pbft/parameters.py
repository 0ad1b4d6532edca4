"""PBFT's parameters, as genesis fixes them for an era."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]
MillisecondsOrNone = Annotated[int, msgspec.Meta(ge=0, le=3_600_000)]


class PbftParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All times are in milliseconds.

    ``view_timeout_ms``: how long a replica lets something wait before it asks for another
    primary. It must exceed three message delays, three disk syncs and one block's execution.
    ``view_timeout_ms_max``: the timeout doubles with each view that fails (section 4.5.2), up to
    this ceiling, and starts anew with every final block.
    ``heartbeat_ms``: after so long without a transaction the primary proposes an empty block;
    0: no blocks while nothing waits.
    ``clock_tolerance_ms``: a block whose time is further ahead of the own clock gets no prepare
    until the clock has come near.
    """

    view_timeout_ms: Milliseconds = 2_000
    view_timeout_ms_max: Milliseconds = 30_000
    heartbeat_ms: MillisecondsOrNone = 0
    clock_tolerance_ms: MillisecondsOrNone = 500

    def __post_init__(self) -> None:
        if self.view_timeout_ms_max < self.view_timeout_ms:
            raise ValueError("view_timeout_ms_max is below view_timeout_ms")

    def timeout_ms(self, failed_views: int) -> int:
        """The view timeout after so many views in a row that decided nothing."""
        doublings = min(failed_views, 32)  # 2**32 ms passes every ceiling
        return min(self.view_timeout_ms << doublings, self.view_timeout_ms_max)

    @property
    def resend_ms(self) -> int:
        """Pause before a statement is said again: twice at least within the shortest view."""
        return max(1, self.view_timeout_ms * 2 // 5)


DEVNET_PARAMETERS: Final[Mapping[str, int | str]] = {
    "heartbeat_ms": 2_000,
    "view_timeout_ms": 1_000,
}
