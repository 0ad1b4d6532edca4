"""Twins: two copies of one node with one key, of which neither hears the other.

Bano et al., "Twins: BFT Systems Made Robust" (OPODIS 2021). Each peer is linked to one of the two
at a time, by a partition that is drawn anew every so often; so both lead, vote and time out in the
same name, each honest by itself. Equivocation, amnesia and double voting all follow from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from moot.lab.liars import liar_kind
from moot.lab.liars_consensus import BYZANTINE
from moot.lab.network import Link
from moot.lab.node import SimulatedNode
from moot.node.core import NodeCore
from p2p.wire import PeerMessage

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

PARTITION_MS_MAX = 4_000
"""A partition lasts up to some view time-outs."""


@liar_kind("twins", BYZANTINE)
class Twins:
    """Stands in the network in the place of one node, and shares its links among two.

    Partitions last for random times; ``twins-by-view`` (liars_views.py) draws them for each view.

    The first is the node itself, which faults strike as any other; the second starts when the
    first has, and is never struck.
    """

    is_honest = False

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        self._world = laboratory.world
        self._network = laboratory.network
        self._rng = laboratory.world.rng(f"twins/{node.name}")
        self.first = node
        node.is_honest = False
        self._second = SimulatedNode(
            laboratory.world,
            laboratory.network,
            node.genesis,
            node.signer,
            f"{node.name}'",
            node.settings,
            verifier=node.verifier,
        )
        self._second.is_honest = False
        self._second.on_failure = lambda _, error: None
        self._of: dict[bytes, SimulatedNode] = {}
        for twin in (self.first, self._second):
            self._bind(twin)
        laboratory.network.nodes[node.key] = self  # type: ignore[assignment]
        node.started.append(self._begin)
        self._draw()

    def _bind(self, twin: SimulatedNode) -> None:
        honest = twin.send

        def send(key: bytes, message: PeerMessage) -> None:
            if self._of.get(key, self.first) is twin:
                honest(key, message)

        twin.send = send  # type: ignore[method-assign]

    def _begin(self, _: SimulatedNode) -> None:
        if self._second.starts == 0:
            self._world.after(0, self._second.start)

    def _draw(self) -> None:
        """A new partition: who hears which of the two."""
        for key in self._network.nodes:
            self._of[key] = self.first if self._rng.random() < 0.5 else self._second
        self._world.after(self._rng.randint(200, PARTITION_MS_MAX), self._draw)

    # ------------------------------------------------- what the network asks of a node

    @property
    def core(self) -> NodeCore | None:
        return self.first.core

    @property
    def name(self) -> str:
        return self.first.name

    @property
    def busy_until_ms(self) -> int:
        return self.first.busy_until_ms

    def joined(self, link: Link) -> None:
        for twin in (self.first, self._second):
            twin.joined(link)

    def left(self, key: bytes, reason: str) -> None:
        for twin in (self.first, self._second):
            twin.left(key, reason)

    def receive(self, sender: bytes, message: PeerMessage) -> None:
        self._of.get(sender, self.first).receive(sender, message)
