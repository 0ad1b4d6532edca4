"""The simulated world: virtual time and chance. One seed, one run.

Time is a heap of (moment, rank, sequence, action) and jumps from deadline to deadline. There is a
generator for each concern, so that one more draw here moves none there.

At one moment comes first what is done to the network from outside, in order; then what ends of
that; then what happens in it. So a list of steps with their times says all: whether a seed drew
each just before, or all of them stood in a file, the run is the same.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable

Action = Callable[[], object]

STEP, END, INSIDE = range(3)
"""Ranks of actions that are due at one moment."""


class World:
    """Virtual time in milliseconds, and a seeded generator for each concern."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now_ms = 0
        self._heap: list[tuple[int, int, int, Action]] = []
        self._sequence = 0
        self._trace = hashlib.sha256()
        self._lines: list[str] = []
        self.events = 0

    def rng(self, concern: str) -> random.Random:
        """A generator of its own for each concern, so that one more draw here moves none there."""
        digest = hashlib.sha256(f"{self.seed}/{concern}".encode()).digest()
        return random.Random(int.from_bytes(digest, "big"))

    def after(self, delay_ms: int, action: Action, rank: int = INSIDE) -> None:
        """Does ``action`` so many milliseconds from now, after what is already due then."""
        self._sequence += 1
        moment_ms = self.now_ms + max(0, delay_ms)
        heapq.heappush(self._heap, (moment_ms, rank, self._sequence, action))

    def run_until(self, moment_ms: int, stop: Callable[[], bool] = lambda: False) -> bool:
        """Runs what is due until ``moment_ms``, or until ``stop``; whether it stopped."""
        heap = self._heap
        while heap and heap[0][0] <= moment_ms:
            self.now_ms, _, _, action = heapq.heappop(heap)
            self.events += 1
            action()
            if stop():
                return True
        self.now_ms = max(self.now_ms, moment_ms)
        return stop()

    def note(self, line: str) -> None:
        """Adds a line to the rolling trace hash."""
        self._lines.append(f"{self.now_ms} {line}\n")
        if len(self._lines) >= 256:
            self._digest()

    def _digest(self) -> None:
        self._trace.update("".join(self._lines).encode())
        self._lines.clear()

    @property
    def trace_hash(self) -> str:
        """Of all lines noted so far: equal for equal runs, in any process."""
        self._digest()
        return self._trace.copy().hexdigest()
