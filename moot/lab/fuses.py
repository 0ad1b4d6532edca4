"""Moments of a node's own: between which two of its events and effects something happens to it."""

from __future__ import annotations

from consensus.contract import Broadcast, Effect, Event, Send
from moot.lab import steps


class Fuse:
    """A node that is to die, or to be cut off, at a moment of its own."""

    def __init__(self, step: steps.Crash | steps.Isolate, left: int) -> None:
        self.step = step
        self.left = left
        self.reached = False

    def burn(self, thing: Event | Effect) -> bool:
        """Whether it is to happen right before ``thing``."""
        moment = self.step.moment
        if moment is None or moment.what == "steps":
            self.left -= 1
            return self.left < 0
        if self.reached:
            return True
        if moment.what not in _names(thing):
            return False
        self.left -= 1
        self.reached = self.left <= 0
        return self.reached and moment.order == "before"


def _names(thing: Event | Effect) -> tuple[str, ...]:
    """What an event or effect may be called in a step: its type, or that of what it says."""
    if isinstance(thing, Broadcast | Send):
        return type(thing).__name__, type(thing.message).__name__
    return (type(thing).__name__,)
