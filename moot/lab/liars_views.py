"""Twins as the paper generates them: who leads and who hears whom is drawn for each view.

Bano et al., "Twins: BFT Systems Made Robust" (OPODIS 2021), sections 3 and 4. A scenario names for
each round a leader and a partition of all instances, each twin counted by itself. Where the paper
enumerates scenarios, a seed draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from chain.view import ChainView
from consensus.contract import Effect, Engine, Event, Now, Status
from moot.lab.leaders import leaders_drawn
from moot.lab.liars import HELD_MAX, liar_kind
from moot.lab.liars_consensus import BYZANTINE
from moot.lab.liars_twins import Twins
from moot.lab.node import SimulatedNode
from p2p.wire import ConsensusFrame, PeerMessage

if TYPE_CHECKING:
    from moot.lab.run import Laboratory

Round = tuple[int, int]
"""Height of the head, and view."""
PATIENCE_MS: Final = 1_500
"""After so long in one round its partition is drawn anew: where no group is a quorum, nobody may
leave the round, and the paper's scenarios end with a time in which everybody hears everybody."""
GROUPS: Final = (1, 1, 2, 2, 2, 3)
"""Into how many groups a round's instances are split; one: everybody hears everybody."""
ROUNDS_KEPT: Final = 64


class ViewPartitions:
    """For each round: which instances hear each other. One for a laboratory.

    What is said belongs to the round in which its sender is then. While faults last, consensus
    messages to another group are lost, as in the paper; all else (gossip, sync) waits until both
    are in one group, since a link loses nothing while it stands.
    """

    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory
        self._network = laboratory.network
        self._instances: list[SimulatedNode] = []
        self._rounds: dict[str, tuple[Round, int]] = {}
        """Where each instance is, and since when."""
        self._drawn: dict[tuple[Round, int], dict[str, int]] = {}
        self._ways: dict[str, Callable[[bytes, PeerMessage], None]] = {}
        self._held: dict[tuple[str, bytes], list[tuple[int, PeerMessage]]] = {}
        for node in laboratory.nodes:
            self.add(node)
            if node.is_honest:
                self._bind(node)
        laboratory.lasting.enter_context(
            leaders_drawn(laboratory.options.engine, laboratory.world.rng("leaders"))
        )

    @classmethod
    def of(cls, laboratory: Laboratory) -> ViewPartitions:
        """The laboratory's; the first that asks for it makes it."""
        if laboratory.view_partitions is None:
            laboratory.view_partitions = cls(laboratory)
        return laboratory.view_partitions

    def add(self, node: SimulatedNode) -> None:
        """One more instance, whose rounds are watched."""
        self._instances.append(node)
        self._drawn.clear()
        node.wrappers.append(lambda engine: _Watched(engine, node, self))

    def same_group(self, sender: SimulatedNode, receiver: SimulatedNode) -> bool:
        """Whether what ``sender`` says now may reach ``receiver``."""
        now_ms = self._laboratory.world.now_ms
        at, since_ms = self._rounds.get(sender.name, ((0, 0), 0))
        groups = self._groups(at, (now_ms - since_ms) // PATIENCE_MS)
        return groups[sender.name] == groups[receiver.name]

    def _groups(self, at: Round, turn: int) -> dict[str, int]:
        found = self._drawn.get((at, turn))
        if found is None:
            rng = self._laboratory.world.rng(f"partition/{at[0]}/{at[1]}/{turn}")
            count = rng.choice(GROUPS)
            found = {node.name: rng.randrange(count) for node in self._instances}
            self._drawn[at, turn] = found
            if len(self._drawn) > ROUNDS_KEPT:
                del self._drawn[next(iter(self._drawn))]
        return found

    def entered(self, node: SimulatedNode, at: Round) -> None:
        """Its engine is in that round now."""
        before = self._rounds.get(node.name)
        if before is not None and before[0] == at:
            return
        self._rounds[node.name] = (at, self._laboratory.world.now_ms)
        self._laboratory.findings.exercised["rounds_parted"] += 1
        for key in [key for name, key in self._held if name == node.name]:
            if self._may_pass(node, key):
                self._release(node, key)

    # ----------------------------------------------------------------- links of honest nodes

    def _bind(self, node: SimulatedNode) -> None:
        honest = self._ways[node.name] = node.send

        def send(key: bytes, message: PeerMessage) -> None:
            if self._may_pass(node, key):
                self._release(node, key)
                honest(key, message)
            elif isinstance(message, ConsensusFrame):
                self._laboratory.findings.exercised["lost_between_groups"] += 1
            else:
                self._hold(node, key, message)

        node.send = send  # type: ignore[method-assign]

    def _may_pass(self, node: SimulatedNode, key: bytes) -> bool:
        """What liars hear and say, they judge themselves."""
        receiver = self._network.nodes[key]
        if not self._laboratory.faults.active or not receiver.is_honest:
            return True
        return self.same_group(node, receiver)

    def _hold(self, node: SimulatedNode, key: bytes, message: PeerMessage) -> None:
        waiting = self._held.setdefault((node.name, key), [])
        waiting.append((self._network.generation(node.key, key), message))
        if len(waiting) > HELD_MAX:  # a sender gives up on a peer that reads nothing
            waiting.clear()
            self._network.redial(node.key, key)

    def _release(self, node: SimulatedNode, key: bytes) -> None:
        """What waited for a link that still stands, in its order."""
        for generation, message in self._held.pop((node.name, key), ()):
            if generation == self._network.generation(node.key, key):
                self._ways[node.name](key, message)


class _Watched:
    """An engine whose rounds are told to the partitions."""

    def __init__(self, engine: Engine, node: SimulatedNode, partitions: ViewPartitions) -> None:
        self.inner = engine
        self._node = node
        self._partitions = partitions

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        effects = self.inner.handle(event, view, now)
        height = view.height(view.head())
        self._partitions.entered(self._node, (height, self.inner.status(view, now).round))
        return effects

    def status(self, view: ChainView, now: Now) -> Status:
        return self.inner.status(view, now)


@liar_kind("twins-by-view", BYZANTINE)
class TwinsByView(Twins):
    """Both twins hear whoever is in their group; a peer's link serves one of them at a time."""

    def __init__(self, laboratory: Laboratory, node: SimulatedNode) -> None:
        self._partitions = ViewPartitions.of(laboratory)
        super().__init__(laboratory, node)
        self._partitions.add(self._second)

    def _bind(self, twin: SimulatedNode) -> None:
        honest = twin.send

        def send(key: bytes, message: PeerMessage) -> None:
            receiver = self._network.nodes[key]
            peer = receiver.first if isinstance(receiver, Twins) else receiver
            if isinstance(message, ConsensusFrame):
                may_pass = self._partitions.same_group(twin, peer)
            else:
                may_pass = self._of.get(key, self.first) is twin
            if may_pass:
                honest(key, message)

        twin.send = send  # type: ignore[method-assign]

    def receive(self, sender: bytes, message: PeerMessage) -> None:
        if not isinstance(message, ConsensusFrame):
            super().receive(sender, message)
            return
        said_by = self._network.nodes[sender]
        peer = said_by.first if isinstance(said_by, Twins) else said_by
        for twin in (self.first, self._second):
            if self._partitions.same_group(peer, twin):
                twin.receive(sender, message)
