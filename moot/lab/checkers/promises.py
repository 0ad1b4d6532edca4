"""What acceptors promise and proposers propose, held against what they say later.

Paxos signs acceptances only, so that nothing but this looks at promises. Over restarts: a promise
is for good. A node whose disk was wiped may forget; what it must do then is listen.

* An acceptor promises and accepts nothing below what it promised (Paxos Made Simple, P1a).
* A promise shows the highest ballot that the acceptor accepted at its open height (phase 1b).
* A proposer asks for one block under one ballot at one height (section 2.2).
* A ballot, a promise, an acceptance and the ballot of a granted lease are on disk before they are
  said (section 2.5).
* Where there is a leader with a lease, nobody else leads while it counts on it ("Paxos Made Live",
  section 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from chain.hashing import BlockId
from chain.ledger.disk import RECORD_KEY
from consensus.contract import Broadcast, Effect, Event, Message, Send, Trace
from consensus.multipaxos import MultiPaxosEngine
from consensus.multipaxos.engine import LEADS
from consensus.multipaxos.messages import Grant
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import Accept, Accepted, Prepare, Promise, Vote
from consensus.paxos.record import parse_record
from moot.lab.checkers.bounds import innermost
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

FOR_ALL_HEIGHTS = {"paxos": False, "multipaxos": True}
"""By engine: whether a promise holds at every later height too."""
HEIGHTS_KEPT = 64
"""Heights of which one node's words are remembered; it speaks of the open one and the next."""


class Leases:
    """For the whole cluster: who counts on a lease, and who leads under a higher ballot."""

    def __init__(self, nodes: Sequence[SimulatedNode], findings: Findings) -> None:
        self._nodes = nodes
        self._findings = findings
        for node in nodes:
            node.observers.append(partial(self._observe, node))

    @judged_honestly
    def _observe(self, node: SimulatedNode, thing: Event | Effect) -> None:
        if isinstance(thing, Trace) and thing.name == LEADS:
            for other in self._nodes:
                if other is not node:
                    self._compare(other, node)

    @judged_honestly
    def look(self, node: SimulatedNode) -> None:
        """After each step of a node."""
        if isinstance(_engine(node), MultiPaxosEngine):
            for other in self._nodes:
                if other is not node:
                    self._compare(node, other)

    def _compare(self, holder: SimulatedNode, leader: SimulatedNode) -> None:
        mine, other = _engine(holder), _engine(leader)
        if mine is None or other is None or not mine.leads_under or not other.leads_under:
            return
        if mine.leads_under < other.leads_under and mine.holds_lease(holder.clock()):
            self._findings.violated(
                "leases",
                f"{leader.name} leads while {holder.name} may count on its lease",
                leader.world.now_ms,
            )


def _engine(node: SimulatedNode) -> MultiPaxosEngine | None:
    engine = None if node.core is None else innermost(node.core.driver.engine)
    return engine if isinstance(engine, MultiPaxosEngine) else None


K = TypeVar("K")
V = TypeVar("V")


class Promises:
    """For one node. ``for_all_heights``: a promise holds at every later height too."""

    def __init__(self, node: SimulatedNode, findings: Findings, for_all_heights: bool) -> None:
        self._node = node
        self._findings = findings
        self._for_all_heights = for_all_heights
        self._forget()
        node.started.append(self._begin)
        node.observers.append(self._observe)

    def _forget(self) -> None:
        self._promised: dict[int, Ballot] = {}
        self._accepted: dict[int, Vote] = {}
        self._asked: dict[tuple[int, Ballot], BlockId] = {}

    def _begin(self, node: SimulatedNode) -> None:
        if node.store.memory.get(RECORD_KEY) is None:
            self._forget()

    @judged_honestly
    def _observe(self, thing: Event | Effect) -> None:
        if isinstance(thing, (Broadcast, Send)):
            self._judge(thing.message)

    def _judge(self, message: Message) -> None:
        match message:
            case Prepare():
                self._is_written(message.ballot, message.height, "prepares")
            case Grant():
                self._is_written(message.ballot, message.height, "grants a lease to")
            case Promise():
                self._is_written(message.ballot, message.height, "promises")
                self._keeps_word(message.ballot, message.height, "promises")
                self._shows_all(message)
                self._promised[self._place(message.height)] = message.ballot
            case Accepted():
                vote = Vote(message.ballot, message.block_id)
                known = self._accepted.get(message.height)
                if vote == known:
                    return  # said again, as after a restart: it was accepted before the promise
                self._is_written(message.ballot, message.height, "accepts")
                self._keeps_word(message.ballot, message.height, "accepts")
                if known is None or known.ballot < message.ballot:
                    self._accepted[message.height] = vote
            case Accept():
                place = (message.height, message.ballot)
                before = self._asked.setdefault(place, message.block_id)
                if before != message.block_id:
                    self._violated(f"asks for two blocks under one ballot at {message.height}")
        _shorten(self._promised)
        _shorten(self._accepted)
        _shorten(self._asked)

    def _is_written(self, ballot: Ballot, height: int, what: str) -> None:
        raw = self._node.store.memory.get(RECORD_KEY)
        record = None if raw is None else parse_record(raw)
        if record is None or record.height < height or record.promised < ballot:
            self._violated(f"{what} round {ballot.round} at height {height} and has not written it")

    def _place(self, height: int) -> int:
        return 0 if self._for_all_heights else height

    def _keeps_word(self, ballot: Ballot, height: int, what: str) -> None:
        promised = self._promised.get(self._place(height), NO_BALLOT)
        if ballot < promised:
            self._violated(
                f"{what} round {ballot.round} at height {height} after round {promised.round}"
            )

    def _shows_all(self, message: Promise) -> None:
        accepted = self._accepted.get(message.height)
        if accepted is None:
            return
        shown = NO_BALLOT if message.accepted is None else message.accepted.ballot
        if shown < accepted.ballot:
            self._violated(f"hides what it accepted at height {message.height}")

    def _violated(self, what: str) -> None:
        self._findings.violated("promises", f"{self._node.name} {what}", self._node.world.now_ms)


def _shorten(kept: dict[K, V]) -> None:
    while len(kept) > HEIGHTS_KEPT:
        del kept[next(iter(kept))]
