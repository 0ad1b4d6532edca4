"""aserti3-2d: difficulty as a pure function of a block's height and time since an anchor.

Absolutely scheduled exponentially rising targets (M. B. Lundeberg 2020), in the fixed-point form
of the Bitcoin Cash specification of November 2020:

    next target = anchor target * 2 ** ((time - spacing * height) / half-life)

where time and height count from the anchor. A chain that is one half-life behind its schedule is
twice as easy. There is no window: so no error adds up, and no order of time stamps inside a window
can be abused (the time warp of Bitcoin's 2016 blocks). Only integers are used; 2 ** x on [0, 1) is
the specification's cubic, 16 fractional bits, off by less than 0.013 %.

Where we differ from Bitcoin Cash: times are given in milliseconds, and the half-life is a parameter
(theirs: two days).
"""

from __future__ import annotations

RADIX_BITS = 16
RADIX = 1 << RADIX_BITS


def next_target(
    anchor_target: int,
    *,
    elapsed_ms: int,
    heights: int,
    spacing_ms: int,
    half_life_ms: int,
    limit: int,
) -> int:
    """The target of the block after one that lies ``heights`` above the anchor.

    ``elapsed_ms`` is that block's time less the time of the anchor's *parent* and may be negative;
    the result lies between 1 and ``limit``, whatever the arguments are.
    """
    assert 0 < anchor_target <= limit and heights >= 0 and spacing_ms > 0 and half_life_ms > 0
    late_ms = elapsed_ms - spacing_ms * (heights + 1)
    exponent = _divide_toward_zero(late_ms * RADIX, half_life_ms)
    shifts, fraction = exponent >> RADIX_BITS, exponent & (RADIX - 1)
    if shifts > 256:
        return limit  # more doublings than a target has bits: spares us a shift of any length
    target = anchor_target * _power_of_two(fraction)
    shifts -= RADIX_BITS
    target = target << shifts if shifts >= 0 else target >> -shifts
    return min(max(target, 1), limit)


def _power_of_two(fraction: int) -> int:
    """65536 * 2 ** (fraction / 65536) for 0 <= fraction < 65536, by the specification's cubic."""
    return RADIX + (
        (
            195_766_423_245_049 * fraction
            + 971_821_376 * fraction**2
            + 5_127 * fraction**3
            + (1 << 47)
        )
        >> 48
    )


def _divide_toward_zero(dividend: int, divisor: int) -> int:
    """Integer division as the specification's consensus code, which is C++, divides."""
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient
