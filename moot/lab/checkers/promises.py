"""What acceptors promise and proposers propose, held against what they say later.

Paxos signs acceptances only, so that nothing but this looks at promises. Over restarts: a promise
is for good.

* An acceptor promises and accepts nothing below what it promised (Paxos Made Simple, P1a).
* A promise shows the highest ballot that the acceptor accepted at its open height (phase 1b).
* A proposer asks for one block under one ballot at one height (section 2.2), and for the one that
  the promises bind it to, if they do (phase 2, P2c).
* A proposer asks for nothing, and nobody leads, before a majority of distinct acceptors of the open
  height has promised its ballot (section 2.2, phase 2).
* A ballot, a promise, an acceptance and the ballot of a granted lease are on disk before they are
  said (section 2.5).
* A node whose disk was wiped votes at no height that another had open then ("Paxos Made Live",
  section 5.1); what it said before, it may forget.
* Where there is a leader with a lease, nobody else leads while it counts on it ("Paxos Made Live",
  section 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from chain.address import Address
from chain.errors import DamagedStore
from chain.hashing import BlockId
from chain.ledger.disk import RECORD_KEY
from chain.validators import majority
from chain.view import ChainView
from consensus.contract import (
    Broadcast,
    Effect,
    Event,
    Message,
    MessageReceived,
    Now,
    Send,
    Trace,
)
from consensus.multipaxos import MultiPaxosEngine
from consensus.multipaxos.engine import LEADS
from consensus.multipaxos.messages import Grant
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import Accept, Accepted, Prepare, Promise, Vote
from consensus.paxos.participant import Participant
from consensus.paxos.proposer import Proposer
from consensus.paxos.record import PaxosRecord, parse_record
from moot.lab.checkers.bounds import innermost
from moot.lab.checkers.watching import Watched
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings

FOR_ALL_HEIGHTS = {"paxos": False, "multipaxos": True}
"""By engine: whether a promise holds at every later height too."""
HEIGHTS_KEPT = 64
"""Heights of which one node's words are remembered; it speaks of the open one and the next."""


def _record(node: SimulatedNode) -> PaxosRecord | None:
    """What is on the node's disk; None: nothing, or nothing that can be read."""
    raw = node.store.memory.get(RECORD_KEY)
    try:
        return None if raw is None else parse_record(raw)
    except DamagedStore:
        return None


class Leases:
    """For the whole cluster: who counts on a lease, and who leads under a higher ballot."""

    def __init__(self, nodes: Sequence[SimulatedNode], findings: Findings) -> None:
        self._nodes = nodes
        self._findings = findings
        for node in nodes:
            node.observe(partial(self._observe, node), Trace)

    @judged_honestly
    def _observe(self, node: SimulatedNode, thing: Event | Effect) -> None:
        if isinstance(thing, Trace) and thing.name == LEADS:
            for other in self._nodes:
                if other is not node:
                    self._compare(other, node)

    @judged_honestly
    def look(self, node: SimulatedNode) -> None:
        """After each step of a node."""
        if _engine(node) is not None:
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

    def __init__(
        self,
        node: SimulatedNode,
        nodes: Sequence[SimulatedNode],
        findings: Findings,
        for_all_heights: bool,
    ) -> None:
        self._node = node
        self._nodes = nodes
        self._findings = findings
        self._for_all_heights = for_all_heights
        self._silent_until = 0
        """The highest height that others had open when this node lost its record."""
        self._forget()
        node.started.append(self._begin)
        node.observe(self._observe, Broadcast, Send)
        node.wrappers.append(lambda engine: Watched(engine, self._decided, self._heard))

    def _decided(self, event: Event, effects: Sequence[Effect], view: ChainView, now: Now) -> None:
        """What a proposer decides on, while it has heard what it leans on and nothing more."""
        engine = innermost(self._node.running.driver.engine)
        assert isinstance(engine, Participant)
        for effect in effects:
            match effect:
                case Broadcast(message=Accept() as asked):
                    self._is_bound(asked, engine.proposer)
                    if not self._for_all_heights:
                        self._is_promised(engine.proposer, asked.height, view)
                case Trace(name=name, fields=fields) if name == LEADS:
                    self._is_promised(engine.proposer, int(fields["height"]), view)
                case _:
                    pass

    def _heard(self, event: Event, now: Now) -> None:
        """Before the engine handles it."""
        if isinstance(event, MessageReceived) and isinstance(event.message, Promise):
            promise = event.message
            place = (self._place(promise.height), promise.ballot)
            self._promisers.setdefault(place, set()).add(event.sender)
            _shorten(self._promisers)

    @judged_honestly
    def _is_promised(self, proposer: Proposer, height: int, view: ChainView) -> None:
        assert proposer.ballot is not None
        with self._node.store.looked_at():
            final = view.finalized()
            if view.height(final) + 1 != height:
                return  # the block below is final by an effect that is still to be done
            members = view.validators(final)
        who = self._promisers.get((self._place(height), proposer.ballot), set())
        if not members.decided_by(who, majority):
            self._violated(
                f"goes by {len(who)} promises of round {proposer.ballot.round} at height {height}"
            )

    @judged_honestly
    def _is_bound(self, message: Accept, proposer: Proposer) -> None:
        if message.ballot != proposer.ballot or (message.height, message.ballot) in self._asked:
            return
        bound = proposer.bound_to(message.height)
        if bound is not None and bound.block_id != message.block_id:
            self._violated(
                f"proposes another block at height {message.height} than its promises show under "
                f"round {bound.ballot.round}"
            )

    def _forget(self) -> None:
        self._promised: dict[int, Ballot] = {}
        self._accepted: dict[int, Vote] = {}
        self._asked: dict[tuple[int, Ballot], BlockId] = {}
        self._promisers: dict[tuple[int, Ballot], set[Address]] = {}

    def _begin(self, node: SimulatedNode) -> None:
        if _record(node) is None:
            self._forget()
            records = [_record(other) for other in self._nodes if other is not node]
            heights = [record.height for record in records if record is not None]
            self._silent_until = max([self._silent_until, *heights])

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
        if height <= self._silent_until:
            self._violated(f"{what} round {ballot.round} at height {height}: it lost its record")
        record = _record(self._node)
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
