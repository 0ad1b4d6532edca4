"""What a run found, and the counters of what it went through."""

from __future__ import annotations

from collections import Counter

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """Something that must never be. ``at_ms``: virtual time."""

    checker: str
    message: str
    at_ms: int


VIOLATIONS_MAX = 20
"""Kept of one run: what follows on the first ones mostly repeats them."""


class Findings:
    """Violations in order, each message once, and counters."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.exercised: Counter[str] = Counter()
        self._seen: dict[tuple[str, str], None] = {}

    def violated(self, checker: str, message: str, at_ms: int) -> None:
        if (checker, message) not in self._seen and len(self.violations) < VIOLATIONS_MAX:
            self._seen[(checker, message)] = None
            self.violations.append(Violation(checker, message, at_ms))

    def deepest(self, name: str, value: int) -> None:
        """Keeps the largest value seen."""
        self.exercised[name] = max(self.exercised[name], value)
