"""A server's state and its means: the durable record, speaking, time, and who takes part.

The protocol is in ``elections``, ``follower`` and ``leader``; nothing is decided here.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Final, Literal, NamedTuple

from msgspec.structs import replace

from chain.address import Address
from chain.block import Block
from chain.hashing import BlockId
from chain.validators import ValidatorSet, majority
from chain.view import ChainView
from consensus.contract import (
    Effect,
    EngineConfig,
    Fetch,
    Message,
    NodeId,
    Now,
    Persist,
    Send,
    SetHead,
    SetProducer,
    SetTimer,
    Trace,
)
from consensus.raft.log import Bodies
from consensus.raft.messages import Place, Statement, TermReply
from consensus.raft.parameters import RaftParameters
from consensus.raft.progress import Progress
from consensus.raft.record import RaftRecord, parse_record
from consensus.raft.rules import Claims, may_vote, term_of

Role = Literal["follower", "pre-candidate", "candidate", "leader"]

ELECTION_TIMER: Final = "election"
HEARTBEAT_TIMER: Final = "heartbeat"

TRANSFER_TIMER: Final = "transfer"
RECOVERY_TIMER: Final = "recovery"
WRITE_TIMER: Final = "write"

ROUNDS_MAX: Final = 64
"""Rounds of heartbeats remembered with their times: three seconds, past every election timeout."""
FETCH_PAUSE_MS: Final = 500
"""The same block is not asked for again within it: a sync request and its answer."""


class Unanswered(NamedTuple):
    """An append of the current term's leader that covers entries up to ``last``."""

    last: Place
    round: int


class Round(NamedTuple):
    """A leader's round of heartbeats, and when its first message left."""

    number: int
    begun_ms: int


class Wanted(NamedTuple):
    """A block that was asked for. ``deadline_ms`` None: as soon as a transaction waits."""

    parent: BlockId
    claims: Claims
    deadline_ms: int | None


class Read(NamedTuple):
    """A read that waits for a majority's word. ``asker`` None: a client of this node."""

    request: int
    asker: NodeId | None
    round: int
    height: int


class AskedRead(NamedTuple):
    """A client's read that the leader was asked about."""

    leader: NodeId
    term: int
    at_ms: int


class Transfer(NamedTuple):
    """Leadership on its way to ``target``. ``request`` None: nobody asked for it by a command."""

    target: NodeId
    request: int | None
    term: int
    is_told: bool = False


class Server:
    """What one server knows. ``record`` is what it must not forget; the rest it can lose."""

    def __init__(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> None:
        assert isinstance(config.parameters, RaftParameters)
        self._me = me
        self._parameters: RaftParameters = config.parameters
        self._rng = rng
        self._record = RaftRecord() if record is None else parse_record(record)
        self._written = self._record
        """The record of the last Persist: what is on disk when anything behind it is done."""
        self._listening = record is None
        """The record was lost: nothing is promised until ``recovery`` says so."""
        self._syncing = False
        self._conflict = False
        """A committed block contradicts a final one: the fault model is broken."""
        self._role: Role = "follower"
        self._leader: NodeId | None = None
        self._final: BlockId = b""
        self._sets: dict[BlockId, ValidatorSet] = {}
        """What ``_set_after`` remembers."""
        self._bodies = Bodies()
        self._committed: Statement | None = None
        """The latest commit statement seen, with its signature."""
        self._waiting = 0
        self._stopping = False
        self._votes: set[NodeId] = set()
        """Who granted the vote, or the pre-vote, that this server asks for."""
        self._by_transfer = False
        """The old leader asked for the election under way."""
        # What the current leader sent (consensus.raft.follower).
        self._unanswered: deque[Unanswered] = deque()
        self._importing: dict[BlockId, None] = {}
        """Entries that the importer is about to answer for."""
        self._fetching: dict[BlockId, None] = {}
        """Last entries of appends without bodies, which sync brings."""
        self._agreed = 0
        """Up to there the durable log is known to equal the current leader's."""
        self._statements: dict[BlockId, Statement] = {}
        # As a leader (consensus.raft.leader).
        self._progress: dict[NodeId, Progress] = {}
        self._stored = 0
        """Height up to which the own log is durable in this term."""
        self._announced = 0
        """Height of the last entry that this leader has called committed."""
        self._building: Wanted | None = None
        self._own: Block | None = None
        """An own block that is being imported."""
        self._round = 0
        self._rounds: deque[Round] = deque()
        self._was_handed_over = False
        """In this term a follower was told to stand: its voters ignore no lease of ours."""
        self._transfer: Transfer | None = None
        # Reads (consensus.raft.reads).
        self._reads: list[Read] = []
        self._unopened: list[tuple[int, NodeId | None]] = []
        self._asked_reads: dict[int, AskedRead] = {}
        # A lost record (consensus.raft.recovery).
        self._told: dict[NodeId, TermReply] = {}
        self._listen_until: int | None = None
        # Time, on the steady clock.
        self._contact_ms = 0
        """When this server last heard from a leader, or started: it may have heard just before."""
        self._timeout_ms = 0
        self._deadline_ms = 0
        self._fetched: tuple[BlockId, int] | None = None
        self._producer: NodeId | None = None
        # Valid during one call of ``handle`` only.
        self._view: ChainView
        self._now = Now(0, 0)
        self._effects: list[Effect] = []

    # ------------------------------------------------------------------------------ small facts

    @property
    def term(self) -> int:
        """The latest term seen, perhaps not written yet; for whoever looks on."""
        return self._record.term

    @property
    def record(self) -> RaftRecord:
        """What it must not forget, perhaps not written yet; for whoever looks on."""
        return self._record

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader of its term; for whoever looks on."""
        return self._role == "leader"

    @property
    def matched(self) -> dict[NodeId, int]:
        """As a leader: up to which height each other log is known to equal its own; for whoever
        looks on."""
        return {member: progress.matched for member, progress in self._progress.items()}

    @property
    def deadline_ms(self) -> int:
        """When the election timeout under way ends, on the steady clock; for whoever looks on."""
        return self._deadline_ms

    @property
    def _term(self) -> int:
        return self._record.term

    @property
    def _tip(self) -> Place:
        """The log's last entry."""
        return Place(self._record.height, self._record.tip)

    @property
    def _tip_term(self) -> int:
        return term_of(self._view.header(self._record.tip))

    @property
    def _members(self) -> ValidatorSet:
        """The configuration that the own log's tip gives: the latest in the log, committed or not
        (section 6)."""
        return self._set_after(self._record.tip)

    def _set_after(self, block: BlockId) -> ValidatorSet:
        """The set entitled to decide the child of a block of the log; the tip's and the final one's
        are asked for with every message."""
        found = self._sets.get(block)
        if found is None:
            found = self._view.validators(block)
            self._sets = {
                one: known
                for one, known in self._sets.items()
                if one in (self._record.tip, self._final)
            }
            self._sets[block] = found
        return found

    @property
    def _is_voter(self) -> bool:
        return may_vote(self._members, self._me)

    @property
    def _is_needed(self) -> bool:
        """Whether it has a vote, or had one in the configuration that what is final gives.

        Until the block that leaves it out is final, its log may be the only one that can win
        (thesis 4.2.2).
        """
        return self._is_voter or may_vote(self._set_after(self._final), self._me)

    @property
    def _audience(self) -> tuple[Address, ...]:
        """Everybody else in the configuration of the tip, or of what is final, in address order.

        Whoever has just been left out hears that this is final.
        """
        listed = self._members.listed | self._set_after(self._final).listed
        return tuple(sorted(listed - {self._me}))

    def _is_entitled(self, sender: NodeId, last: BlockId) -> bool:
        """Whether a sender takes part, by the own log or by the log that it speaks of."""
        if sender in self._members.listed or sender in self._set_after(self._final).listed:
            return True
        return self._view.knows(last) and sender in self._view.validators(last).listed

    def _decided(self, members: ValidatorSet, supporters: set[NodeId]) -> bool:
        """A majority of distinct voters; under a joint configuration of both halves (section 6)."""
        return members.decided_by(supporters, majority)

    # ------------------------------------------------------------------------------ speaking

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _trace(self, name: str, **fields: int | str) -> None:
        self._emit(Trace(name, {"term": self._term, **fields}))

    def _replace(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)

    def _write(self) -> None:
        """Makes the record and the log durable, if they changed (law 2)."""
        if self._record == self._written:
            return
        assert not self._listening, "a server without its record was about to promise something"
        self._written = self._record
        blocks = (self._record.tip,) if self._record.height else ()
        self._emit(Persist(self._record.raw, blocks))

    def _say(self, to: NodeId, message: Message) -> None:
        """Everything said rests on the record: it is written first (figure 2)."""
        if not self._conflict:
            self._write()
            self._emit(Send(to, message))

    def _fetch(self, block: BlockId, hint: NodeId | None) -> None:
        """Asks for a block and its ancestors, at a bounded rate."""
        now_ms = self._now.steady_ms
        if self._fetched is not None:
            asked, at_ms = self._fetched
            if now_ms - at_ms < FETCH_PAUSE_MS and (asked == block or at_ms == now_ms):
                return
        self._fetched = (block, now_ms)
        self._emit(Fetch((block,), hint))

    # ------------------------------------------------------------------------------ the log

    def _set_tip(self, block: BlockId) -> None:
        """The log now ends in ``block``; what it held beside that branch is deleted from it."""
        if block == self._record.tip:
            return
        self._replace(tip=block, height=self._view.height(block))
        self._emit(SetHead(block))

    # ------------------------------------------------------------------------------ time

    def _draw_timeout(self) -> None:
        """A new election timeout, drawn anew for each try (section 5.2), from now on."""
        low, high = self._parameters.election_ms_min, self._parameters.election_ms_max
        self._timeout_ms = self._rng.randint(low, high)
        self._deadline_ms = self._now.steady_ms + self._timeout_ms

    def _put_off(self) -> None:
        """A leader was heard, or a vote given: the timeout begins again (section 5.2)."""
        self._deadline_ms = self._now.steady_ms + self._timeout_ms

    def _arm_election_timer(self) -> None:
        """The timer is not moved with each heartbeat; it looks again when it fires early."""
        self._emit(SetTimer((ELECTION_TIMER,), max(1, self._deadline_ms - self._now.steady_ms)))

    def _announce_leader(self) -> None:
        """Tells the node where to push waiting transactions, when that changes."""
        if self._leader != self._producer:
            self._producer = self._leader
            self._emit(SetProducer(self._leader))
