"""What genesis sets for a chain under proof of work."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chain.errors import InvalidBlock
from chain.genesis import COIN, SUPPLY_MAX
from consensus.pow.target import target_from_bits

HALVINGS_MAX = 64
"""From this many halvings on the subsidy is nothing (BIP42: a longer shift has no meaning)."""

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Bits = Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]


class PowParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``pow``; the defaults are Bitcoin's pace on a handful of ordinary cores.

    target_spacing_ms: mean time between blocks at which the difficulty aims (10 minutes).
    half_life_ms: a chain this far behind its schedule halves its difficulty (2 days).
    initial_bits: compact target of the first block, and the anchor of all later ones.
    pow_limit_bits: compact form of the easiest target that may ever be.
    subsidy: base units minted by each block until the first halving (50 coins).
    halving_interval: blocks between two halvings of the subsidy (210,000).
    maturity: blocks that must pass before a reward can be spent (100).
    confirmation_depth: blocks on top of (and with) a block that make it count as confirmed (6).
    fixed_difficulty: 1 keeps initial_bits for ever (for tests), 0 adjusts it block by block.
    future_limit_ms: how far a header's time may be ahead of the clock, and of its manifest (2 h).
    """

    target_spacing_ms: _Positive = 600_000
    half_life_ms: _Positive = 172_800_000
    initial_bits: _Bits = 0x1D08_0000
    pow_limit_bits: _Bits = 0x1F00_FFFF
    subsidy: Annotated[int, msgspec.Meta(ge=0, le=SUPPLY_MAX)] = 50 * COIN
    halving_interval: _Positive = 210_000
    maturity: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 100
    confirmation_depth: Annotated[int, msgspec.Meta(ge=1, le=2**32)] = 6
    fixed_difficulty: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    future_limit_ms: Annotated[int, msgspec.Meta(ge=1_000, le=86_400_000)] = 7_200_000

    def __post_init__(self) -> None:
        """Raises ValueError where two parameters contradict each other."""
        try:
            initial, limit = (
                target_from_bits(self.initial_bits),
                target_from_bits(self.pow_limit_bits),
            )
        except InvalidBlock as error:
            raise ValueError(error.sentence) from None
        if initial > limit:
            raise ValueError("initial_bits stand for an easier target than pow_limit_bits allow")
        if 2 * self.subsidy * self.halving_interval > SUPPLY_MAX:
            raise ValueError("subsidy and halving_interval would mint more coins than may exist")


def subsidy(parameters: PowParameters, height: int) -> int:
    """Base units that the block at ``height`` mints, fees not counted.

    Halved every ``halving_interval`` blocks, nothing after 64 halvings (Bitcoin section 6, BIP42).
    """
    halvings = height // parameters.halving_interval
    return 0 if halvings >= HALVINGS_MAX else parameters.subsidy >> halvings
