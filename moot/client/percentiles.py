"""Exact percentiles of latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Latency(NamedTuple):
    """Milliseconds from the intended send time, by nearest rank over every ended transaction."""

    p50: float
    p90: float
    p99: float
    max: float


def percentiles(values_ms: Sequence[float]) -> Latency | None:
    """Exact nearest-rank percentiles; None for no values."""
    if not values_ms:
        return None
    ordered = sorted(values_ms)

    def rank(percent: int) -> float:
        return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 3)

    return Latency(rank(50), rank(90), rank(99), round(ordered[-1], 3))


def latency_facts(values_ms: Sequence[float]) -> dict[str, float] | None:
    """The same as an object for JSON."""
    found = percentiles(values_ms)
    return None if found is None else found._asdict()
