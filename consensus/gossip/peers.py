"""What a node knows of the others from their digests, and how long it took to agree with them."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from consensus.contract import NodeId
from consensus.gossip.messages import Point

PEERS_MAX: Final = 64
"""Peers remembered; those heard longest ago are forgotten first."""
SILENT_ROUNDS: Final = 8
"""Rounds of digests without a word after which a peer counts as unreachable."""


class PeerView(msgspec.Struct):
    """A peer's last word. ``common``: the greatest height known to be shared with it. ``apart``:
    its head lies on a branch that is not the own one, or is unknown."""

    head: Point
    common: int
    apart: bool
    heard_ms: int


class Peers:
    """Bounded. Times are the steady clock's, in milliseconds."""

    def __init__(self, rng: random.Random, round_ms: int) -> None:
        self._rng = rng
        self._silence_ms = SILENT_ROUNDS * round_ms
        self._views: OrderedDict[NodeId, PeerView] = OrderedDict()
        self._apart_since_ms: int | None = None
        self.last_convergence_ms: int | None = None
        """How long the last disagreement lasted."""
        self.longest_convergence_ms = 0

    def __len__(self) -> int:
        return len(self._views)

    def heard(self, peer: NodeId, view: PeerView) -> None:
        self._views[peer] = view
        self._views.move_to_end(peer)
        while len(self._views) > PEERS_MAX:
            self._views.popitem(last=False)

    def some(self, count: int) -> list[NodeId]:
        """``count`` of them by chance; all, where they are fewer. In the order in which they were
        heard last, so that chance alone decides and no memory address."""
        known = list(self._views)
        return known if len(known) <= count else self._rng.sample(known, count)

    def reachable(self, now_ms: int) -> dict[NodeId, PeerView]:
        return {
            peer: view
            for peer, view in self._views.items()
            if now_ms - view.heard_ms < self._silence_ms
        }

    def all(self) -> dict[NodeId, PeerView]:
        return dict(self._views)

    def look(self, is_apart: Callable[[PeerView], bool], now_ms: int) -> int | None:
        """Judges every reachable peer anew. When the last one agrees again: how long they did not.

        From the first word of a branch that is not the own one, to the moment at which the heads
        of all reachable peers lie on one chain with the own.
        """
        for view in self._views.values():
            view.apart = is_apart(view)
        if any(view.apart for view in self.reachable(now_ms).values()):
            if self._apart_since_ms is None:
                self._apart_since_ms = now_ms
            return None
        if self._apart_since_ms is None:
            return None
        took_ms, self._apart_since_ms = now_ms - self._apart_since_ms, None
        self.last_convergence_ms = took_ms
        self.longest_convergence_ms = max(self.longest_convergence_ms, took_ms)
        return took_ms

    @property
    def apart_since_ms(self) -> int | None:
        """Since when somebody reachable has been on another branch; None: all agree."""
        return self._apart_since_ms
