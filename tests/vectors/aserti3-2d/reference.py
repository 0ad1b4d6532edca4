"""Writes the run*.txt files here, in the layout of the specification's own vectors.

    python tests/vectors/aserti3-2d/reference.py

They are *derived*, not the published ones: this program follows the specification's text with
rational numbers, and shares no code with consensus.pow. The layout is the published one, so that
the published files can be laid beside these and are then tested as well. Mainnet's constants:
600 s, half-life 172,800 s, limit 0x1d00ffff.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

SPACING_S, HALF_LIFE_S = 600, 172_800
LIMIT_BITS = 0x1D00FFFF


def expand(bits: int) -> int:
    return int(Fraction(bits & 0x7FFFFF) * Fraction(256) ** ((bits >> 24) - 3))


def shorten(target: int) -> int:
    size = 1
    while 256**size <= target or target / Fraction(256) ** (size - 3) >= 0x800000:
        size += 1
    return size * 2**24 + math.floor(target / Fraction(256) ** (size - 3))


def asert(anchor_bits: int, time_difference: int, height_difference: int) -> int:
    """The specification's formula, its cubic in exact fractions, rounded where it rounds."""
    late = Fraction(time_difference - SPACING_S * (height_difference + 1), HALF_LIFE_S)
    exponent = Fraction(math.trunc(late * 65_536), 65_536)
    whole = math.floor(exponent)
    x = int((exponent - whole) * 65_536)
    cubic = Fraction(195_766_423_245_049 * x + 971_821_376 * x**2 + 5_127 * x**3, 2**48)
    factor = Fraction(65_536 + math.floor(cubic + Fraction(1, 2)), 65_536)
    target = math.floor(expand(anchor_bits) * factor * Fraction(2) ** whole)
    return shorten(min(max(target, 1), expand(LIMIT_BITS)))


def runs() -> Iterator[tuple[str, int, int, int, list[tuple[int, int]]]]:
    """(what it shows, anchor height, anchor's parent's time, anchor bits, [(height, time)])."""

    def steps(start: int, time: int, intervals: list[int]) -> list[tuple[int, int]]:
        points = []
        for offset, interval in enumerate(intervals):
            time += interval
            points.append((start + offset, time))
        return points

    rng = random.Random(3)
    slow = [600 + HALF_LIFE_S] * 240
    exponential = [round(rng.expovariate(1 / 600)) for _ in range(100)]
    wild = [rng.randrange(-7_200, 20_000) for _ in range(100)]
    yield "on schedule at the limit", 1, 0, 0x1D00FFFF, steps(2, 600, [600] * 20)
    yield "on schedule below the limit", 1, 0, 0x1A2B3C4D, steps(2, 600, [600] * 20)
    yield "on schedule at a target of one", 1, 0, 0x01010000, steps(2, 600, [600] * 20)
    yield (
        "a half-life late each time, from one up to the limit",
        1,
        0,
        0x01010000,
        steps(2, 600, slow),
    )
    yield "blocks without delay, from the limit down", 1, 0, 0x1D00FFFF, steps(2, 600, [0] * 120)
    yield "five hours late each time", 1, 0, 0x1802AEE8, steps(2, 600, [18_600] * 60)
    yield "exponential intervals", 1, 0, 0x1802AEE8, steps(2, 600, exponential)
    yield "intervals that go back in time", 1, 0, 0x1802AEE8, steps(2, 600, wild)
    far = [(1 + 144 * day, 600 + 86_400 * day) for day in range(1, 100)]
    yield "far heights on schedule", 1, 0, 0x1A2B3C4D, far
    late = 2**32
    yield "times beyond 32 bits", 2**31, late, 0x1A2B3C4D, steps(2**31 + 1, late + 600, wild)
    fast = [(1 + 10_000 * jump, 600 + 600 * jump) for jump in range(1, 30)]
    yield "difficulty up to a target of one", 1, 0, 0x1A2B3C4D, fast
    hours = [(661_648 + n, 1_605_447_844 + rng.randrange(1_200 * n + 1)) for n in range(1, 100)]
    yield "heights and times of a real chain", 661_647, 1_605_446_846, 0x1804DAFE, hours


def main() -> None:
    here = Path(__file__).parent
    for number, (what, height, time, bits, points) in enumerate(runs(), 1):
        lines = [
            f"## derived vector {number:02}: {what}",
            f"##   anchor height: {height}",
            f"##   anchor parent time: {time}",
            f"##   anchor nBits: {bits:#010x}",
            f"##   start height: {points[0][0]}",
            f"##   start time: {points[0][1]}",
            f"##   iterations: {len(points)}",
            "# iteration,height,time,target",
        ]
        for iteration, (at_height, at_time) in enumerate(points, 1):
            answer = asert(bits, at_time - time, at_height - height)
            lines.append(f"{iteration} {at_height} {at_time} {answer:#010x}")
        (here / f"run{number:02}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
