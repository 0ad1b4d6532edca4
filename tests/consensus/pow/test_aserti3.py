"""ASERT against files of vectors, against exact powers of two, and over its whole range.

The vectors in tests/vectors/aserti3-2d are derived by an independent implementation in rational
numbers (reference.py there), in the layout of the published ones; they are not the published
files. Any file of that layout laid beside them is tested too.

Of the specification's twelve published runs, the eight whose heights and times are regular series
are made again here and compared by digest (PUBLISHED). The other four (6, 7, 8 and 11: random
solve times) were compared once by hand, all 3,500 rows equal; they cannot be made from parameters.
"""

from __future__ import annotations

import hashlib
import random
import re
from decimal import Decimal, localcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.pow.aserti3 import next_target
from consensus.pow.target import TARGET_MAX, bits_from_target, target_from_bits

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "aserti3-2d").glob("run*.txt"))
LIMIT = target_from_bits(0x1D00FFFF)
HALF_LIFE_MS = 172_800_000

targets = st.integers(1, TARGET_MAX)
times = st.integers(-(2**80), 2**80)


def bitcoin_cash(anchor_target: int, elapsed_s: int, heights: int, limit: int = LIMIT) -> int:
    return next_target(
        anchor_target,
        elapsed_ms=elapsed_s * 1_000,
        heights=heights,
        spacing_ms=600_000,
        half_life_ms=HALF_LIFE_MS,
        limit=limit,
    )


# run: anchor height, anchor's parent's time, anchor bits, first height, first time, height step,
# time step, rows, SHA-256 of the published rows as "height time 0xbits" lines.
PUBLISHED = {
    1: (
        (1, 0, 0x1D00FFFF, 2, 1_200, 1, 600, 10),
        "e1664297ebbd54611612e96fd3d555611bb17f90055731de82c5094d8712d6f3",
    ),
    2: (
        (1, 0, 0x1A2B3C4D, 2, 1_200, 1, 600, 10),
        "4ef75eda1c6b912d56b65e0c94b26cf00b9ada36a1f3a7ee03086355886620fb",
    ),
    3: (
        (1, 0, 0x01010000, 2, 1_200, 1, 600, 10),
        "48a68b69926416b6aabbf8bcdb6c7bb5b6d260643cd17ce57374edf7c04ebb02",
    ),
    4: (
        (1, 0, 0x01010000, 2, 174_000, 1, 173_400, 225),
        "d8c33f75626a15fd8ee5c1f8c950a5069ccaad9e21024dc40926e5dd133603e8",
    ),
    5: (
        (1, 0, 0x1D00FFFF, 2, 0, 288, 0, 225),
        "9907231c18b4a9557bd328d59b4ee4bd067a726c6a11b0f1ace5fe9798727c18",
    ),
    9: (
        (2**31 - 6, 1_234_567_290, 0x1802AEE8, 2**31 - 5, 1_234_568_190, 1, 300, 10),
        "b6fcade796f4c9b3ba55fadde1dd51189848148852a2e3c44ba4407da7413e5f",
    ),
    10: (
        (2**63 - 6, 2_147_483_047, 0x1802AEE8, 2**63 - 5, 2_147_484_547, 1, 900, 10),
        "1240cddaf508eedc9295af0d3a80f9dba9bb64abc989a15299e76024cb4f1004",
    ),
    12: (
        (1, 10_000, 0x1802AEE8, 2, 11_200, 1, -1, 10_000),
        "a323d31804e6cca36d9c981b3694e5d36f8092d30f24b4efb7b9ba4f609fbb2d",
    ),
}


@pytest.mark.parametrize("run", sorted(PUBLISHED))
def test_published_series(run: int) -> None:
    (anchor, parent_time, bits, height, time, height_step, time_step, count), digest = PUBLISHED[
        run
    ]
    anchor_target = target_from_bits(bits)
    lines = []
    for row in range(count):
        at_height, at_time = height + row * height_step, time + row * time_step
        target = bitcoin_cash(anchor_target, at_time - parent_time, at_height - anchor)
        lines.append(f"{at_height} {at_time} {bits_from_target(target):#010x}")
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == digest


def test_all_vectors_are_there() -> None:
    assert len(VECTORS) >= 12


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vectors(path: Path) -> None:
    text = path.read_text()
    anchor_height = int(re.findall(r"anchor height: (\d+)", text)[0])
    parent_time = int(re.findall(r"anchor (?:parent|ancestor) time: (\d+)", text)[0])
    anchor_target = target_from_bits(int(re.findall(r"anchor nBits: (0x\w+)", text)[0], 16))
    rows = [line.split() for line in text.splitlines() if line and line[0] != "#"]
    assert len(rows) == int(re.findall(r"iterations: (\d+)", text)[0])
    for _, height, time, bits in rows:
        target = bitcoin_cash(anchor_target, int(time) - parent_time, int(height) - anchor_height)
        assert bits_from_target(target) == int(bits, 16), f"height {height}"


@given(st.integers(2**60, 2**220), st.integers(-(10**7), 10**7), st.integers(0, 10**4))
def test_cubic_is_within_its_published_error(anchor: int, elapsed_s: int, heights: int) -> None:
    """0.013 % for the cubic, and one part in 65,536 of an exponent's step for its rounding."""
    with localcontext() as context:
        context.prec = 120
        late = Decimal(elapsed_s - 600 * (heights + 1)) / 172_800
        exact = Decimal(anchor) * Decimal(2) ** late
        got = bitcoin_cash(anchor, elapsed_s, heights, limit=TARGET_MAX)
        if 1 < exact < TARGET_MAX:
            assert abs(got - exact) <= exact * Decimal("0.00015") + 1


@given(targets, targets, times, st.integers(0, 2**63), st.integers(1, 2**53), st.integers(1, 2**53))
def test_no_argument_overflows_or_gives_zero(
    anchor: int, limit: int, elapsed_ms: int, heights: int, spacing_ms: int, half_life_ms: int
) -> None:
    """BUGS: retarget overflow, zero target, missing clamp."""
    target = next_target(
        min(anchor, limit),
        elapsed_ms=elapsed_ms,
        heights=heights,
        spacing_ms=spacing_ms,
        half_life_ms=half_life_ms,
        limit=limit,
    )
    assert 1 <= target <= limit
    assert 1 <= target_from_bits(bits_from_target(target)) <= limit


@given(st.integers(1, LIMIT), times, st.integers(0, 2**40), st.integers(0, 2**40))
def test_later_is_never_harder(anchor: int, elapsed_s: int, heights: int, more_s: int) -> None:
    assert bitcoin_cash(anchor, elapsed_s, heights) <= bitcoin_cash(
        anchor, elapsed_s + more_s, heights
    )


@given(st.integers(1, LIMIT), times, st.integers(0, 2**40), st.integers(0, 2**40))
def test_higher_is_never_easier(anchor: int, elapsed_s: int, heights: int, more: int) -> None:
    assert bitcoin_cash(anchor, elapsed_s, heights) >= bitcoin_cash(
        anchor, elapsed_s, heights + more
    )


def mean_intervals(power: list[float], *, half_life_ms: int) -> list[float]:
    """Mean interval (in spacings) of each quarter thousand of blocks mined at a hash power each.

    Power 1 finds a block a second at the anchor's target. Blocks come as a Poisson process.
    """
    rng, anchor = random.Random(11), 2**230
    now_ms, means, height, target = 0.0, [], 0, anchor
    for share in power:
        began = now_ms
        for _ in range(250):
            now_ms += rng.expovariate(1.0) * 1_000 * (anchor / target) / share
            height += 1
            target = next_target(
                anchor,
                elapsed_ms=int(now_ms) // 1_000 * 1_000 + 1_000,
                heights=height,
                spacing_ms=1_000,
                half_life_ms=half_life_ms,
                limit=2**250,
            )
        means.append((now_ms - began) / 250 / 1_000)
    return means


def test_pace_returns_after_the_hash_power_changes() -> None:
    """Whole seconds in headers do not disturb one-second blocks; a fourfold change is absorbed."""
    means = mean_intervals([1, 1, 4, 4, 4, 0.5, 0.5, 0.5], half_life_ms=60_000)
    for settled in (0, 1, 3, 4, 6, 7):
        assert 0.8 < means[settled] < 1.25, means
    assert means[2] < 0.8  # while it adapts, blocks come too fast,
    assert means[5] > 1.25  # or too slowly
