"""The simulated network: links that delay, lose, double and reorder what runs over them."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

from moot.lab.world import World
from p2p.wire import ConsensusFrame, Hello, PeerMessage, decode_frame, encode_frame

if TYPE_CHECKING:
    from moot.lab.node import SimulatedNode

RETRANSMIT_MS = 200
"""TCP's least retransmission time-out on Linux; it doubles with each try."""
TRIES_MAX = 5
"""Retransmissions after which a sender here gives its connection up; TCP would wait minutes."""
REDIAL_MS = 1_000
"""Pause before a link that was closed is dialed again."""
DECODED_MAX = 512
"""Frames whose decoding is shared between receivers: a broadcast is the same bytes to all."""
INTERCEPTED: Final = {"drop": "selective-loss", "hold": "delay", "repeat": "duplication"}
"""Under which kind of fault each action counts."""

Pair = tuple[bytes, bytes]


class Watcher(Protocol):
    """Sees what goes over the links; it must change nothing.

    A frame that arrives is the same object that was sent, unless it was sent twice.
    """

    def sent(self, pair: Pair, message: PeerMessage, frame: bytes) -> None: ...

    def arrived(self, pair: Pair, frame: bytes) -> None: ...


class Link(msgspec.Struct, frozen=True):
    """A peer as the core sees it."""

    key: bytes
    hello: Hello


class LinkFaults(msgspec.Struct):
    """How one direction of a link behaves.

    ``delay_ms``: least and greatest. ``tail``: thousandths of the messages that take up to ten
    times longer. ``loss``, ``duplication``, ``reordering``: in thousandths, of consensus messages,
    which no engine may trust to come, once, in order. Everything else leans on a link that is
    whole and in order, as TCP's are: there ``loss`` costs a retransmission, for which all behind
    it waits, and now and then the connection, with what was on its way. ``bytes_per_ms``: 0 is
    unlimited. ``cut``: everything is lost.

    Consensus and all else run in two lanes, as the transport's do (p2p/outbox.py): each is in
    order, and either may overtake the other.
    """

    delay_ms: tuple[int, int] = (1, 5)
    tail: int = 0
    loss: int = 0
    duplication: int = 0
    reordering: int = 0
    bytes_per_ms: int = 0
    cut: bool = False


class Interception(msgspec.Struct, eq=False):
    """What is done to messages of one kind on some links.

    ``kind``: a consensus message's tag, another message's class name, or None for all messages.
    ``left``: how many more it strikes; None: all. ``by_ms``: how much later one arrives that is
    held; it does not keep up what was said after it.
    """

    action: Literal["drop", "hold", "repeat"]
    pairs: Mapping[Pair, None]
    kind: int | str | None
    left: int | None = None
    by_ms: int = 0

    def takes(self, pair: Pair, message: PeerMessage) -> bool:
        """Whether it strikes this one; if so, it is counted."""
        if self.left == 0 or pair not in self.pairs:
            return False
        if self.kind is not None:
            found = message.tag if isinstance(message, ConsensusFrame) else type(message).__name__
            if self.kind != found:
                return False
        if self.left is not None:
            self.left -= 1
        return True


class Network:
    """Links between all nodes that run; in order, as TCP would, unless a fault says otherwise."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.nodes: dict[bytes, SimulatedNode] = {}
        self.faults: dict[Pair, LinkFaults] = {}
        self.messages: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.watchers: list[Watcher] = []
        self.interceptions: list[Interception] = []
        """In the order in which they are asked; the first that drops a message ends it."""
        self.redials = False
        """Whether closed links are dialed again by themselves, as the transport's are."""
        self._rng = world.rng("network")
        self._last: dict[tuple[Pair, bool], int] = {}
        self._free_ms: dict[tuple[Pair, bool], int] = {}
        self._generation: dict[Pair, int] = {}
        self._up: dict[Pair, None] = {}
        self._encoded: tuple[PeerMessage | None, bytes] = (None, b"")
        self._decoded: dict[bytes, PeerMessage] = {}

    def faults_of(self, sender: bytes, receiver: bytes) -> LinkFaults:
        pair = (sender, receiver)
        found = self.faults.get(pair)
        if found is None:
            found = self.faults[pair] = LinkFaults()
        return found

    def send(self, sender: bytes, receiver: bytes, message: PeerMessage) -> None:
        pair = (sender, receiver)
        if pair not in self._up:
            return
        faults = self.faults_of(sender, receiver)
        self.messages[type(message).__name__] += 1
        for watcher in self.watchers:
            watcher.sent(pair, message, self._frame(message))
        if faults.cut:
            self.injected["cut"] += 1
            return
        droppable = isinstance(message, ConsensusFrame)
        late_ms = copies = 0
        for interception in self.interceptions:
            if interception.takes(pair, message):
                self.injected[INTERCEPTED[interception.action]] += 1
                if interception.action == "drop":
                    return
                late_ms += interception.by_ms
                copies += interception.action == "repeat"
        if self._hits(faults.loss, "loss"):
            if droppable:
                return
            tries = self._tries(faults.loss)
            if tries > TRIES_MAX:
                self.world.after(0, lambda: self.disconnect(sender, receiver, "lost"))
                return
            self._stall(pair, RETRANSMIT_MS * (2**tries - 1))
        frame = self._frame(message)
        for _ in range(1 + copies):
            self._deliver_after(pair, frame, faults, droppable, late_ms)
        if droppable and self._hits(faults.duplication, "duplication"):
            self._deliver_after(pair, frame, faults, droppable)

    def _frame(self, message: PeerMessage) -> bytes:
        """A broadcast is one object for all receivers: encoded once."""
        if self._encoded[0] is not message:
            self._encoded = (message, encode_frame(message))
        return self._encoded[1]

    def _hits(self, thousandths: int, kind: str) -> bool:
        if not thousandths or self._rng.randrange(1000) >= thousandths:
            return False
        self.injected[kind] += 1
        return True

    def _tries(self, thousandths: int) -> int:
        """How often a segment is sent again until one of its copies is not lost."""
        tries = 1
        while tries <= TRIES_MAX and self._rng.randrange(1000) < thousandths:
            tries += 1
        return tries

    def _stall(self, pair: Pair, milliseconds: int) -> None:
        """All in the lane that is in order waits for what was lost in front of it."""
        lane = (pair, False)
        self._last[lane] = max(self._last.get(lane, 0), self.world.now_ms + milliseconds)

    def _deliver_after(
        self, pair: Pair, frame: bytes, faults: LinkFaults, loose: bool, late_ms: int = 0
    ) -> None:
        now_ms, lane = self.world.now_ms, (pair, loose)
        due_ms = max(now_ms, self.nodes[pair[0]].busy_until_ms)
        if faults.bytes_per_ms:
            due_ms = max(due_ms, self._free_ms.get(lane, 0)) + len(frame) // faults.bytes_per_ms
            self._free_ms[lane] = due_ms
        due_ms += self._rng.randint(*faults.delay_ms)
        if self._hits(faults.tail, "delay"):
            due_ms += self._rng.randint(0, 10 * faults.delay_ms[1])
        if late_ms:
            due_ms += late_ms
        elif not (loose and self._hits(faults.reordering, "reordering")):
            due_ms = max(due_ms, self._last.get(lane, 0))
            self._last[lane] = due_ms
        generation = self._generation.get(pair, 0)

        def deliver() -> None:
            node = self.nodes[pair[1]]
            if self._generation.get(pair, 0) == generation:
                self.world.note(f"{node.name} < {zlib.crc32(frame)}")
                for watcher in self.watchers:
                    watcher.arrived(pair, frame)
                node.receive(pair[0], self._message(frame))

        self.world.after(due_ms - now_ms, deliver)

    def _message(self, frame: bytes) -> PeerMessage:
        found = self._decoded.get(frame)
        if found is None:
            found = self._decoded[frame] = decode_frame(frame)
            if len(self._decoded) > DECODED_MAX:
                del self._decoded[next(iter(self._decoded))]
        return found

    # -------------------------------------------------------------------------------- links

    def connect_all(self, key: bytes) -> None:
        """Links a node that has started with all that run."""
        for other in self.nodes:
            self.connect(key, other)

    def connect(self, one: bytes, other: bytes) -> None:
        first, second = self.nodes[one], self.nodes[other]
        if one == other or first.core is None or second.core is None or (one, other) in self._up:
            return
        self._up[(one, other)] = self._up[(other, one)] = None
        hello_of_first, hello_of_second = first.core.hello(0), second.core.hello(0)
        first.joined(Link(other, hello_of_second))
        second.joined(Link(one, hello_of_first))

    def disconnect(self, one: bytes, other: bytes, reason: str) -> None:
        for pair in ((one, other), (other, one)):
            self._generation[pair] = self._generation.get(pair, 0) + 1
            if self._up.pop(pair, self) is None:
                self.nodes[pair[0]].left(pair[1], reason)
        if self.redials:
            self.world.after(REDIAL_MS, lambda: self._redial(one, other))

    def generation(self, one: bytes, other: bytes) -> int:
        """Which link this is of all that the two have had."""
        return self._generation.get((one, other), 0)

    def _redial(self, one: bytes, other: bytes) -> None:
        if self.faults_of(one, other).cut or self.faults_of(other, one).cut:
            self.world.after(REDIAL_MS, lambda: self._redial(one, other))
        else:
            self.connect(one, other)

    def partition(self, *groups: list[SimulatedNode]) -> None:
        """Only nodes of one group hear each other."""
        group_of = {node.key: number for number, group in enumerate(groups) for node in group}
        for one in self.nodes:
            for other in self.nodes:
                if one != other:
                    cut = group_of.get(one) != group_of.get(other)
                    self.faults_of(one, other).cut = cut

    def heal(self) -> None:
        """All links whole again, and dialed again, as real ones are after a time-out."""
        self.interceptions.clear()
        for pair, faults in self.faults.items():
            self.faults[pair] = LinkFaults(faults.delay_ms)
        for one in self.nodes:
            for other in self.nodes:
                if one < other:
                    self.redial(one, other)

    def redial(self, one: bytes, other: bytes) -> None:
        """Closes a link and opens it again: what was on its way is lost."""
        self.disconnect(one, other, "healed")
        self.connect(one, other)
