"""What genesis sets for a chain that only converges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=3_600_000)]


class GossipParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``gossip``. All times are in milliseconds.

    turn_ms_min, turn_ms_max: a node takes its turn so long after its head last moved, drawn anew
    for each turn. The wider the span beside a message's delay, the rarer two nodes take the same.
    digest_ms: pause between two digests to others (up to a quarter is taken off, by chance).
    fan_out: to how many peers, drawn by chance, each digest goes.
    confirmation_depth: blocks on top of one after which the pages call it confirmed. Here that is
    a guess about those who can be reached, and no promise about those who cannot.
    """

    turn_ms_min: Milliseconds = 500
    turn_ms_max: Milliseconds = 3_000
    digest_ms: Milliseconds = 1_000
    fan_out: Annotated[int, msgspec.Meta(ge=1, le=16)] = 2
    confirmation_depth: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 6

    def __post_init__(self) -> None:
        """Raises ValueError where no turn can be drawn."""
        if self.turn_ms_max <= self.turn_ms_min:
            raise ValueError("turn_ms_max must be more than turn_ms_min")


DEVNET_PARAMETERS: Final[Mapping[str, int | str]] = {
    "turn_ms_min": 100,
    "turn_ms_max": 600,
    "digest_ms": 500,
    "confirmation_depth": 4,
}
