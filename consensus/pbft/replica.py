"""A replica's state and its means: speaking, fetching, helping others, and timers.

The protocol itself is in ``engine``; this file decides nothing about blocks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from chain.block import Block
from chain.hashing import BlockId
from chain.validators import ValidatorSet, quorum_byzantine
from chain.view import ChainView
from consensus.contract import (
    Broadcast,
    CancelTimer,
    Effect,
    EngineConfig,
    Fetch,
    Message,
    NodeId,
    Now,
    Persist,
    Send,
    SetProducer,
    SetTimer,
    TimerKey,
)
from consensus.pbft.book import Book
from consensus.pbft.certificates import primary_of
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Decided,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from consensus.pbft.parameters import PbftParameters
from consensus.pbft.reads import Reads
from consensus.pbft.record import PbftRecord, Proposal, parse_record

VIEW_TIMER: Final = "view"
RESEND_TIMER: Final = "resend"
CLOCK_TIMER: Final = "clock"


class ArmedTimer(NamedTuple):
    """The view timer as it runs: its key and when it fires on the steady clock."""

    key: TimerKey
    at_ms: int


class Replica:
    """What one replica knows. ``record`` is what it must not forget; the rest it can lose."""

    def __init__(self, me: NodeId, config: EngineConfig, record: bytes | None) -> None:
        assert isinstance(config.parameters, PbftParameters)
        self._me = me
        self._parameters: PbftParameters = config.parameters
        self._record = PbftRecord() if record is None else parse_record(record)
        self._saved: PbftRecord | None = None
        """The record of a height whose final parent this node has not replayed yet."""
        self._record_lost = record is None
        self._listening = record is None
        self._listen_until: int | None = None
        self._syncing = True
        self._conflict = False
        """More than f members lied: two certified blocks of which neither is the other's child."""
        # What is known of the chain beyond what the view shows as executed.
        self._final: BlockId = b""
        self._members = ValidatorSet()
        self._pending: CommitCertificate | None = None
        # What was heard.
        self._book = Book()
        self._view_changes: dict[NodeId, ViewChange] = {}
        self._new_view: NewView | None = None
        self._early_new_view: NewView | None = None
        self._heard_ms: dict[NodeId, int] = {}
        self._heard_at: dict[NodeId, int] = {}
        """The highest height that each member spoke of; kept while the record is lost."""
        self._waiting = 0
        # The open round.
        self._body: Block | None = None
        self._importing: BlockId | None = None
        self._vetted: BlockId | None = None
        self._refused: tuple[int, int] | None = None
        self._building: tuple[int, int] | None = None
        self._built: Block | None = None
        self._nothing_to_build = False
        self._reads = Reads(config.parameters.resend_ms)
        self._failed_views = 0
        self._settled_ms = 0
        """When this node last entered a view or finalized (steady clock)."""
        # What runs, and what was said when, to keep to a bounded rate.
        self._view_timer: ArmedTimer | None = None
        self._resend_key: TimerKey | None = None
        self._clock_key: TimerKey | None = None
        self._fetched: tuple[BlockId, int] | None = None
        self._helped_ms: dict[NodeId, int] = {}
        self._producer: NodeId | None = None
        # Valid during one call of ``handle`` only.
        self._view: ChainView
        self._now = Now(0, 0)
        self._effects: list[Effect] = []

    # ------------------------------------------------------------------------------ small facts

    @property
    def _can_speak(self) -> bool:
        """Members speak, unless they are behind, have lost their record, or saw a fork."""
        return (
            not self._syncing
            and not self._listening
            and not self._conflict
            and self._saved is None
            and self._me in self._members
        )

    @property
    def _quorum(self) -> int:
        return quorum_byzantine(len(self._members))

    @property
    def _primary(self) -> NodeId:
        return primary_of(self._members, self._record.view)

    @property
    def _round(self) -> tuple[int, int]:
        return (self._record.height, self._record.view)

    @property
    def _height_spoken(self) -> int:
        """The highest height at which this replica has said a commit, in any view."""
        record = self._record
        return record.height if record.commit is not None else record.height - 1

    @property
    def _proposal(self) -> Proposal | None:
        """The accepted proposal of the current view."""
        proposal = self._record.proposal
        return proposal if proposal is not None and proposal.view == self._record.view else None

    def _is_ready(self) -> bool:
        proposal = self._proposal
        return (
            self._record.active
            and self._can_speak
            and proposal is not None
            and self._vetted == proposal.block_id
            and self._view.knows(proposal.block_id)
        )

    def _view_changes_at_least(self, view: int) -> list[NodeId]:
        """Members that asked for ``view`` or a higher one, in address order."""
        return sorted(
            sender
            for sender, change in self._view_changes.items()
            if sender in self._members and change.view >= view
        )

    # ------------------------------------------------------------------------------ speaking

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _speak(self, message: Message, blocks: tuple[BlockId, ...] = ()) -> None:
        """Writes the record and the bodies that it leans on, then says it (law 2)."""
        assert self._can_speak, "a replica that may only listen was about to speak"
        # Nobody votes at h before h - lag is final: with one open height h - 1 always is.
        assert self._view.height(self._final) == self._record.height - 1
        self._emit(Persist(self._record.raw, blocks))
        self._emit(Broadcast(message))

    def _view_change(self) -> ViewChange:
        """The own view change for the record's height and view: always the same content."""
        record = self._record
        return ViewChange(record.view, record.height, self._final, record.prepared, self._me)

    def _restate(self) -> None:
        """Says the last statements again, unchanged; proposals without their body."""
        if not self._can_speak:
            return
        record, me = self._record, self._me
        height, view = self._round
        if not record.active:
            if record.view_change_sent == self._round:
                self._emit(Broadcast(self._view_change()))
            return
        for said, kind in (
            (record.pre_prepare, PrePrepare),
            (record.prepare, Prepare),
            (record.commit, Commit),
        ):
            if said is not None and said.view == view:
                self._emit(Broadcast(kind(view, height, said.block_id, me)))

    def _fetch(self, block: BlockId, hint: NodeId | None) -> None:
        """Asks for a block and its ancestors, at most once in each resend pause."""
        now_ms = self._now.steady_ms
        if self._fetched is not None:
            asked, at_ms = self._fetched
            if now_ms - at_ms < self._parameters.resend_ms and (asked == block or at_ms == now_ms):
                return
        self._fetched = (block, now_ms)
        self._emit(Fetch((block,), None if hint == self._me else hint))

    def _help(self, author: NodeId, height: int, view: int) -> None:
        """Tells a member that speaks from a lower height or view what it has missed.

        Not within half a resend pause of the change itself: then its message was merely late.
        """
        pause_ms, now_ms = self._parameters.resend_ms, self._now.steady_ms
        if author == self._me or self._syncing or now_ms - self._settled_ms < pause_ms // 2:
            return
        last_ms = self._helped_ms.get(author)
        if last_ms is not None and now_ms - last_ms < pause_ms:
            return
        record = self._record
        answer: Message | None = None
        if height < record.height:
            answer = None if record.decided is None else Decided(record.decided)
        elif height == record.height and view <= record.view and record.active:
            opened = self._new_view
            answer = opened if opened is not None and opened.view == record.view else None
        if answer is not None:
            self._helped_ms[author] = now_ms
            self._emit(Send(author, answer))

    def _announce_primary(self) -> None:
        """Tells the node where to push waiting transactions, when that changes."""
        primary = self._primary if len(self._members) else None
        if primary != self._producer:
            self._producer = primary
            self._emit(SetProducer(primary))

    # ------------------------------------------------------------------------------ timers

    def _set_timers(self) -> None:
        self._set_view_timer()
        self._set_resend_timer()

    def _view_timeout_ms(self) -> int | None:
        """How long the present state may last; None: as long as it likes (section 4.4).

        The timer runs while something waits. After a view change it runs only once a quorum has
        asked for the view, or a higher one: else a lone replica would run ahead (4.5.2).
        """
        if not self._can_speak:
            return None
        record = self._record
        timeout_ms = self._parameters.timeout_ms(self._failed_views)
        if not record.active:
            gathered = len(self._view_changes_at_least(record.view))
            return timeout_ms if gathered >= self._quorum else None
        spoken = record.pre_prepare is not None and record.pre_prepare.view == record.view
        if self._waiting or self._proposal is not None or spoken:
            return timeout_ms
        heartbeat_ms = self._parameters.heartbeat_ms
        return heartbeat_ms + timeout_ms if heartbeat_ms else None

    def _set_view_timer(self) -> None:
        delay_ms = self._view_timeout_ms()
        armed = self._view_timer
        if delay_ms is None:
            if armed is not None:
                self._emit(CancelTimer(armed.key))
            self._view_timer = None
            return
        state = "active" if self._record.active else "changing"
        key: TimerKey = (VIEW_TIMER, *self._round, state)
        at_ms = self._now.steady_ms + delay_ms
        if armed is not None:
            if armed.key == key and armed.at_ms <= at_ms:
                return
            if armed.key != key:
                self._emit(CancelTimer(armed.key))
        self._view_timer = ArmedTimer(key, at_ms)
        self._emit(SetTimer(key, delay_ms))

    def _set_resend_timer(self) -> None:
        wanted = self._can_speak and (self._view_timer is not None or not self._record.active)
        key: TimerKey | None = (RESEND_TIMER, *self._round) if wanted else None
        if key == self._resend_key:
            return
        if self._resend_key is not None:
            self._emit(CancelTimer(self._resend_key))
        self._resend_key = key
        if key is not None:
            self._emit(SetTimer(key, self._parameters.resend_ms))

    def _wait_for_clock(self, ahead_ms: int) -> None:
        """Looks again when a block's time has come near; once for each round."""
        key: TimerKey = (CLOCK_TIMER, *self._round)
        if self._clock_key != key:
            self._clock_key = key
            self._emit(SetTimer(key, ahead_ms))

    def _replace(self, **changes: object) -> None:
        self._record = replace(self._record, **changes)
