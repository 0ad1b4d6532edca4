"""A PBFT replica: one event in, an ordered list of effects out.

Where we differ from Castro and Liskov, OSDI'99:

* A sequence number is a height, a request is a block; one height is open at a time, so that each
  block names its parent. Watermarks (section 4.3) shrink to that one height.
* Final blocks with their commit certificates take the place of checkpoints (section 4.3): sync
  fetches them, and anyone can check them.
* Signatures instead of MACs: what one honest replica accepts, all accept (no MAC-vector attacks).
* Quorums are ceil((n + f + 1) / 2), which equals 2f + 1 where n = 3f + 1 and is right for every n.
* A commit certificate of view v also opens view v at the next height, for a replica that missed
  the new view: a quorum of it was active there.
* The view timeout has a ceiling; what waits is said again (the thesis' retransmission).

``_step`` holds the protocol as a list of rules, tried in order until none applies. Each rule reads
the record and the book and changes the record; nothing is decided while a message is received.
"""

from __future__ import annotations

from typing import Final

from chain.block import Block, BlockHead
from chain.errors import InvalidMessage, InvalidProof
from chain.hashing import ZERO_HASH, BlockId
from chain.view import ChainView
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockRejected,
    Build,
    CommandGiven,
    Effect,
    Event,
    Finalize,
    Import,
    MessageReceived,
    Now,
    Origin,
    ProofSeen,
    ReadRequested,
    Report,
    SetHead,
    Started,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    TimerKey,
    Trace,
    TransactionsWaiting,
)
from consensus.pbft.book import HEIGHTS_AHEAD
from consensus.pbft.certificates import check_commit_certificate
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    parse_proof,
)
from consensus.pbft.reads import READ_TIMER
from consensus.pbft.record import Choice, Proposal
from consensus.pbft.replica import CLOCK_TIMER, RESEND_TIMER, VIEW_TIMER
from consensus.pbft.status import Spokesman
from consensus.pbft.view_change import (
    check_view_change,
    choice,
    is_quotable,
    view_to_join,
)

BUILD_REQUEST: Final = 1
"""One number for all: a new Build replaces an older one that is not answered yet."""


class PbftEngine(Spokesman):
    """A replica of PBFT (section 4); an observer where ``me`` is no validator."""

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        """One event in, effects out, in order."""
        self._view, self._now, self._effects = view, now, []
        match event:
            case Started():
                self._start(event.syncing)
            case MessageReceived():
                self._on_message(event.sender, event.message)
            case BlockBuilt():
                self._on_built(event.request, event.block)
            case BlockRejected():
                self._on_rejected(event.block, event.origin)
            case TimerFired():
                self._on_timer(event.key)
            case TransactionsWaiting():
                self._waiting = event.count
                self._nothing_to_build = False
            case ProofSeen():
                self._on_proof(event)
            case SyncChanged():
                self._on_sync(event.syncing)
            case CommandGiven():
                refusal = f"refused: pbft knows no command {event.name!r}"
                self._emit(Answer(event.request, refusal))
            case ReadRequested():
                self._reads.requested(event.request)
            case StopRequested():
                self._emit(Stop())
            case _:
                pass  # BlockImported changes what the view knows; the rules below look there
        self._advance()
        final = self._view.height(self._final)
        self._effects += self._reads.advance(self._members, final, self._can_speak, now)
        return self._effects

    # ------------------------------------------------------------------------------ beginnings

    def _start(self, syncing: bool) -> None:
        view, record = self._view, self._record
        self._syncing = syncing
        self._set_final(view.finalized())
        height = view.height(self._final) + 1
        if record.height > height:
            # Finality implied by the record (law 8): first finalize again what it builds on,
            # and say nothing until the chain is as high as what was said before.
            self._saved, self._pending = record, record.decided
        if record.height != height:
            self._record = record.at_height(height, None)
        elif record.proposal is not None and record.proposal.view == record.view:
            said = (record.pre_prepare, record.prepare)
            if any(one is not None and one.view == record.view for one in said):
                self._vetted = record.proposal.block_id
        self._settled_ms = self._now.steady_ms
        self._begin_listening()
        self._restate()

    def _on_sync(self, syncing: bool) -> None:
        self._syncing = syncing
        self._begin_listening()
        self._restate()

    def _set_final(self, block: BlockId) -> None:
        self._final = block
        self._members = self._view.validators(block)
        self._view_changes = {
            sender: change
            for sender, change in self._view_changes.items()
            if sender in self._members
        }
        self._heard_ms = {
            member: at_ms for member, at_ms in self._heard_ms.items() if member in self._members
        }

    # ------------------------------------------------------------------------------ events

    def _on_proof(self, event: ProofSeen) -> None:
        try:
            self._learn(parse_proof(event.proof))
        except InvalidProof as error:
            raise AssertionError("a checked proof that is none of ours") from error

    def _on_built(self, request: int, block: Block | None) -> None:
        if request != BUILD_REQUEST or self._building is None:
            return
        building, self._building = self._building, None
        if block is None:
            self._nothing_to_build = True
            return
        if building == self._round and block.previous == self._final and self._may_propose():
            self._built = block
            if not self._view.knows(block.id):
                self._emit(Import(block, "own"))

    def _on_rejected(self, block: BlockId, origin: Origin) -> None:
        """Only a body that the primary itself sent speaks against the primary."""
        if self._built is not None and block == self._built.id:
            self._built, self._nothing_to_build = None, True
            self._emit(Trace("own-block-rejected", {"height": self._record.height}))
        proposal = self._proposal
        if origin != "proposal" or proposal is None or block != proposal.block_id:
            return
        if block != self._vetted:
            self._refuse("invalid-block")

    def _on_timer(self, key: TimerKey) -> None:
        match key[0]:
            case name if name == VIEW_TIMER:
                if self._view_timer is not None and self._view_timer.key == key:
                    self._view_timer = None
                    self._start_view_change(self._record.view + 1)
            case name if name == RESEND_TIMER:
                if self._resend_key == key:
                    self._resend_key = None
                    self._nothing_to_build = False
                    self._restate()
            case name if name == CLOCK_TIMER:
                if self._clock_key == key:
                    self._clock_key = None
            case name if name == READ_TIMER:
                self._reads.timer_fired(key)

    # ------------------------------------------------------------------------------ the rules

    def _advance(self) -> None:
        """Applies the first rule that can be applied, until none can."""
        while (
            self._try_decide()
            or self._try_enter_early()
            or self._try_join()
            or self._try_say_view_change()
            or self._try_open_view()
            or self._try_accept()
            or self._try_vet()
            or self._try_prepare()
            or self._try_commit()
            or self._try_propose()
            or self._try_build()
        ):
            pass
        self._announce_primary()
        self._set_timers()

    def _try_decide(self) -> bool:
        """Committed: a quorum of commits, or a proof of it (section 4.2), lowest height first."""
        if self._conflict:
            return False
        height, unknown = self._record.height, None
        if self._pending is not None and self._pending.height < height:
            self._pending = None
        found = [
            self._book.committed(at, self._members)
            for at in range(height, height + HEIGHTS_AHEAD + 1)
        ]
        for certificate in (*found, self._pending):
            if certificate is None:
                continue
            if not self._view.knows(certificate.block_id):
                unknown = certificate
            elif self._is_next(certificate):
                self._decide(self._view.header(certificate.block_id), certificate)
                return True
        if unknown is not None and self._importing != unknown.block_id:
            self._fetch(unknown.block_id, unknown.commits[0].signer)
        return False

    def _is_next(self, certificate: CommitCertificate) -> bool:
        """Whether a certificate of a known block moves finality on. One that lies is dropped."""
        view = self._view
        head = view.header(certificate.block_id)
        is_sound = head.height == certificate.height
        try:
            if is_sound:
                check_commit_certificate(certificate, view.validators(head.previous))
        except InvalidProof:
            is_sound = False
        if is_sound and not view.descends(head.id, self._final):
            self._conflict, is_sound = True, False
            self._emit(Trace("conflicting-finality", {"height": head.height}))
        if not is_sound and certificate is self._pending:
            self._pending = None
        return is_sound

    def _decide(self, head: BlockHead, certificate: CommitCertificate) -> None:
        record = self._record
        if certificate.view > record.view or (
            certificate.view == record.view and not record.active
        ):
            # A quorum was active there, so nothing older can be committed above this height.
            self._replace(view=certificate.view, active=True)
        self._record = self._record.at_height(head.height + 1, certificate)
        self._set_final(head.id)
        self._restore_saved()
        if self._listening and self._listen_until is not None:
            self._listening = head.height < self._listen_until
        self._body = self._importing = self._vetted = self._refused = None
        self._building, self._built, self._nothing_to_build = None, None, False
        self._waiting = 0  # the node says again what waits after SetHead
        self._failed_views, self._settled_ms = 0, self._now.steady_ms
        self._book.forget_below(head.height + 1)
        self._emit(SetHead(head.id))
        self._emit(Finalize(head.id, certificate.proof))
        self._emit(Trace("committed", {"height": head.height, "view": certificate.view}))

    def _restore_saved(self) -> None:
        """Takes the round of the durable record up again, once its parent is final."""
        saved = self._saved
        if saved is None or self._record.height < saved.height:
            return
        self._saved = None
        if self._record.height == saved.height:
            self._record = saved
            self._restate()
        elif saved.view > self._record.view:
            self._replace(view=saved.view, active=saved.active)

    def _try_enter_early(self) -> bool:
        message, record = self._early_new_view, self._record
        if message is None or message.height > record.height:
            return False
        self._early_new_view = None
        if message.view > record.view or (message.view == record.view and not record.active):
            try:
                self._enter(message)
            except InvalidMessage as fault:
                self._emit(Report(peer=message.sender, reason=fault.code))
        return True

    def _try_join(self) -> bool:
        """f + 1 others ask for higher views: one of them is honest (section 4.5.2)."""
        if not self._can_speak:
            return False
        view = view_to_join(self._view_changes, self._members, self._me, self._record.view)
        if view is None:
            return False
        self._start_view_change(view)
        return True

    def _start_view_change(self, view: int) -> None:
        """Leaves the view: from here on nothing of it is accepted (section 4.4)."""
        if not self._can_speak:
            return
        assert view > self._record.view
        self._failed_views += 1
        self._replace(view=view, active=False, proposal=None)
        self._forget_round()
        self._emit(Trace("view-change", {"height": self._record.height, "view": view}))

    def _try_say_view_change(self) -> bool:
        record = self._record
        if record.active or not self._can_speak or record.view_change_sent == self._round:
            return False
        self._replace(view_change_sent=self._round)
        prepared = record.prepared
        held = prepared is not None and self._view.knows(prepared.block_id)
        self._speak(
            self._view_change(), (prepared.block_id,) if held and prepared is not None else ()
        )
        return True

    def _try_open_view(self) -> bool:
        """The new primary gathers a quorum of view changes, its own among them (4.4)."""
        record = self._record
        if record.active or not self._can_speak or self._primary != self._me:
            return False
        if record.new_view_sent[1] >= record.view:
            return False
        changes = tuple(
            self._view_changes[sender]
            for sender in sorted(self._view_changes)
            if self._quotable(self._view_changes[sender])
        )
        if len(changes) < self._quorum or self._me not in {one.sender for one in changes}:
            return False
        chosen = choice(changes, record.height)
        self._replace(new_view_sent=self._round)
        blocks: tuple[BlockId, ...] = ()
        if chosen != ZERO_HASH:
            self._replace(pre_prepare=Choice(record.view, chosen))
            blocks = (chosen,) if self._view.knows(chosen) else ()
        body = self._body if self._body is not None and self._body.id == chosen else None
        message = NewView(
            record.view, record.height, self._me, changes, record.decided, chosen, body
        )
        self._speak(message, blocks)
        return True

    def _quotable(self, change: ViewChange) -> bool:
        height, view = self._round
        if change.view != view or not is_quotable(change, height):
            return False
        if change.height == height:
            try:
                check_view_change(change, self._members, self._final)
            except InvalidMessage:
                return False
        return True

    def _try_accept(self) -> bool:
        """The first pre-prepare of this view's primary at the open height (section 4.2)."""
        record = self._record
        if not record.active or self._proposal is not None or not len(self._members):
            return False
        found = self._book.pre_prepare(*self._round, self._primary)
        if found is None:
            return False
        self._replace(proposal=Proposal(record.view, found.block_id, found.sender, found.signature))
        return True

    def _try_vet(self) -> bool:
        """Gets the proposed block imported, and checks what importing does not."""
        proposal = self._proposal
        if proposal is None or not self._record.active or self._refused == self._round:
            return False
        block_id = proposal.block_id
        if self._view.knows(block_id):
            if self._vetted == block_id:
                return False
            fault = self._fault_of(self._view.header(block_id))
            if fault is not None:
                self._refuse(fault)
            else:
                self._vetted = block_id
            return True
        if self._importing == block_id:
            return False
        body = self._proposed_body(block_id)
        if body is None:
            self._fetch(block_id, proposal.primary)
            return False
        self._importing, self._body = block_id, body
        self._emit(Import(body, "proposal"))
        return True

    def _proposed_body(self, block_id: BlockId) -> Block | None:
        if self._body is not None and self._body.id == block_id:
            return self._body
        found = self._book.pre_prepare(*self._round, self._primary)
        return found.block if found is not None and found.block_id == block_id else None

    def _fault_of(self, head: BlockHead) -> str | None:
        if head.previous != self._final or head.height != self._record.height:
            return "wrong-parent"
        opened = self._new_view
        chosen = opened is not None and (opened.height, opened.view) == self._round
        if chosen and opened is not None and opened.block_id == head.id:
            return None  # an older view's primary made it; this one had no choice
        return None if head.manifest.producer == self._primary else "foreign-producer"

    def _refuse(self, reason: str) -> None:
        """The primary proposed what cannot be: it is reported and left."""
        if self._refused == self._round:
            return
        self._refused = self._round
        self._emit(Report(peer=self._primary, reason=reason))
        self._start_view_change(self._record.view + 1)

    def _try_prepare(self) -> bool:
        """A backup agrees to the proposal; the primary has done so by proposing it (4.2)."""
        proposal, record = self._proposal, self._record
        if proposal is None or not self._is_ready() or self._me == self._primary:
            return False
        if record.prepare is not None and record.prepare.view == record.view:
            return False
        ahead_ms = self._view.header(proposal.block_id).time_ms - self._now.wall_ms
        if ahead_ms > self._parameters.clock_tolerance_ms:
            self._wait_for_clock(ahead_ms - self._parameters.clock_tolerance_ms)
            return False
        self._replace(prepare=Choice(record.view, proposal.block_id))
        message = Prepare(record.view, record.height, proposal.block_id, self._me)
        self._speak(message, (proposal.block_id,))
        return True

    def _try_commit(self) -> bool:
        """Prepared: the certificate is durable before the commit is said (section 4.2)."""
        proposal, record = self._proposal, self._record
        if proposal is None or not self._is_ready():
            return False
        if record.commit is not None and record.commit.view == record.view:
            return False
        prepared = self._book.prepared(record.height, proposal, self._members)
        if prepared is None:
            return False
        self._replace(prepared=prepared, commit=Choice(record.view, proposal.block_id))
        self._emit(Trace("prepared", {"height": record.height, "view": record.view}))
        message = Commit(record.view, record.height, proposal.block_id, self._me)
        self._speak(message, (proposal.block_id,))
        return True

    def _may_propose(self) -> bool:
        record = self._record
        said = record.pre_prepare is not None and record.pre_prepare.view == record.view
        return (
            record.active
            and self._can_speak
            and self._primary == self._me
            and self._proposal is None
            and not said
        )

    def _try_propose(self) -> bool:
        """The primary proposes the block that it built, once it is imported (section 4.2)."""
        block, record = self._built, self._record
        if block is None or not self._view.knows(block.id):
            return False
        self._built = None
        if block.previous == self._final and self._may_propose():
            self._body = block
            self._replace(pre_prepare=Choice(record.view, block.id))
            message = PrePrepare(record.view, record.height, block.id, self._me, block)
            self._speak(message, (block.id,))
        return True

    def _try_build(self) -> bool:
        if self._built is not None:
            return False
        if self._building == self._round or self._nothing_to_build or not self._may_propose():
            return False
        self._building = self._round
        heartbeat_ms = self._parameters.heartbeat_ms
        self._emit(
            Build(
                BUILD_REQUEST,
                self._final,
                b"",
                deadline_ms=heartbeat_ms or None,
                may_be_empty=heartbeat_ms > 0,
            )
        )
        return True
