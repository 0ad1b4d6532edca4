"""What every node of the Paxos family is: an acceptor and a learner on its way up the chain.

One height is open at a time: the one above the final block. Blocks are linked by hash, so a
certificate of a block decides all below it, and no gap can arise. Acceptor and learner belong to
the open height; when it is decided they begin anew. What proposers do is for the engines built on
this (``consensus.paxos.engine``, ``consensus.multipaxos.engine``).
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from chain.block import Block, BlockHead
from chain.errors import InvalidProof
from chain.hashing import BlockId
from chain.validators import ValidatorSet
from chain.view import ChainView
from consensus.contract import (
    Broadcast,
    Build,
    Effect,
    Fetch,
    Finalize,
    Import,
    Message,
    NodeId,
    Now,
    Origin,
    Persist,
    Report,
    Send,
    SetHead,
    SetProducer,
    Trace,
)
from consensus.paxos.acceptor import Acceptor
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.learner import Learner
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Ask,
    Certificate,
    Decided,
    Refusal,
    check_certificate,
)
from consensus.paxos.proposer import Proposer
from consensus.paxos.record import PaxosRecord, parse_record

BUILD_REQUEST: Final = 1
"""One number for all: a new Build replaces an older one that is not answered yet."""
HEIGHTS_IN_FLIGHT: Final = 1
"""One height is open at a time."""


class Offer(NamedTuple):
    """What a proposer asks this acceptor to accept, until it can be judged."""

    ballot: Ballot
    block_id: BlockId


class Timing(NamedTuple):
    """What the shared part needs of the parameters, in milliseconds.

    ``resend_ms``: pause before something is said or asked again. ``heartbeat_ms``: an empty block
    after so long without a transaction; 0: none while idle.
    """

    resend_ms: int
    heartbeat_ms: int


class Participant:
    """State and means. ``keeps_promises``: a promise holds at all later heights too."""

    def __init__(
        self,
        engine: str,
        me: NodeId,
        rng: random.Random,
        record: bytes | None,
        timing: Timing,
        *,
        keeps_promises: bool,
    ) -> None:
        self._engine = engine
        self._me = me
        self._rng = rng
        self._timing = timing
        self._keeps_promises = keeps_promises
        self._loaded = PaxosRecord() if record is None else parse_record(record)
        # The roles at the open height.
        self._height = 1
        self._acceptor = Acceptor()
        self._learner = Learner()
        self._proposer = Proposer()
        self._seen = NO_BALLOT
        """The highest ballot heard of, at this height or (if promises are kept) at all."""
        # The durable record, and what keeps this node from speaking.
        self._written: PaxosRecord | None = None
        self._saved: PaxosRecord | None = None
        """The record of a height whose final parent this node has not replayed yet."""
        self._record_lost = record is None
        self._told: dict[NodeId, tuple[int, Ballot]] = {}
        """While the record is lost: each other member's open height and promised ballot."""
        self._listen_until: int | None = None
        self._syncing = True
        self._conflict = False
        """Two certified blocks of which neither is the other's child: more was lost than f."""
        # What is known of the chain beyond what the view shows as executed.
        self._final: BlockId = b""
        self._decided: Certificate | None = None
        self._members = ValidatorSet()
        self._pending: Certificate | None = None
        self._early: dict[tuple[NodeId, type[Message]], tuple[int, Message]] = {}
        """The last message of each kind and sender for the height above the open one."""
        # The values under way.
        self._offered: Offer | None = None
        self._importing: BlockId | None = None
        self._body: Block | None = None
        """The body of a value that was proposed at this height, to be sent along."""
        self._building = self._hurrying = False
        self._built: Block | None = None
        self._waiting = 0
        # What was said when, to keep to a bounded rate.
        self._settled_ms = 0
        self._fetched: tuple[BlockId, int] | None = None
        self._helped_ms: dict[NodeId, int] = {}
        self._asked_ms: dict[NodeId, int] = {}
        self._heard_ms: dict[NodeId, int] = {}
        self._producer: NodeId | None = None
        # Valid during one call of ``handle`` only.
        self._view: ChainView
        self._now = Now(0, 0)
        self._effects: list[Effect] = []

    @property
    def proposer(self) -> Proposer:
        """The ballot under way and its promises, for whoever looks on."""
        return self._proposer

    # ------------------------------------------------------------------------------ small facts

    @property
    def _can_speak(self) -> bool:
        """Voters speak, unless they are behind, have lost their record, or saw a fork."""
        return (
            not self._syncing
            and not self._record_lost
            and not self._conflict
            and self._saved is None
            and self._me in self._members
        )

    @property
    def _record(self) -> PaxosRecord:
        return PaxosRecord(
            height=self._height,
            promised=self._acceptor.promised,
            accepted=self._acceptor.accepted,
            decided=self._decided,
        )

    # ------------------------------------------------------------------------------ speaking

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _write(self, *blocks: BlockId) -> None:
        """The barrier before a promise or an acceptance: record and bodies, once for each state.

        The final block is always among the bodies: a record of this height implies it.
        """
        assert self._can_speak, "a node that may only listen was about to vote"
        # Nobody votes at h before h - lag is final: with one open height h - 1 always is.
        assert self._view.height(self._final) == self._height - 1
        record = self._record
        if record != self._written:
            self._written = record
            below = (self._final,) if self._height > 1 else ()
            self._emit(Persist(record.raw, (*below, *blocks)))

    def _send(self, to: NodeId, message: Message) -> None:
        self._emit(Send(to, message))

    def _broadcast(self, message: Message) -> None:
        self._emit(Broadcast(message))

    def _refuse(self, ballot: Ballot) -> None:
        promised = self._acceptor.promised
        self._send(ballot.node, Refusal(ballot, self._height, promised))

    def _note(self, ballot: Ballot) -> None:
        """Remembers the highest ballot heard of, so that the own next one is higher."""
        self._seen = max(self._seen, ballot)

    # ------------------------------------------------------------------------------ beginnings

    def _start(self, syncing: bool) -> None:
        view, record = self._view, self._loaded
        self._syncing = syncing
        self._settled_ms = self._now.steady_ms
        self._open(view.finalized())
        if self._keeps_promises:
            self._acceptor.promised = record.promised
        if record.height > self._height:
            # Finality implied by the record (law 8): first finalize again what it builds on,
            # and say nothing until the chain is as high as what was said before.
            self._saved, self._pending = record, record.decided
        elif record.height == self._height:
            self._acceptor = Acceptor(record.promised, record.accepted)
            self._decided = record.decided
        self._note(self._acceptor.promised)

    def _open(self, final: BlockId) -> None:
        """Opens the height above ``final``; the roles begin anew."""
        promised = self._acceptor.promised if self._keeps_promises else NO_BALLOT
        self._final = final
        self._height = self._view.height(final) + 1
        self._members = self._view.validators(final)
        self._acceptor = Acceptor(promised)
        self._learner.forget()
        if not self._keeps_promises:
            self._seen = NO_BALLOT
        self._offered = self._importing = self._body = None
        self._building = self._hurrying = False
        self._built = None
        for table in (self._heard_ms, self._helped_ms, self._asked_ms):
            for member in [one for one in table if one not in self._members]:
                del table[member]

    def _restore_saved(self) -> None:
        """Takes the durable record up again, once its parent is final."""
        saved = self._saved
        if saved is None or self._height < saved.height:
            return
        self._saved = None
        if self._height == saved.height:
            self._acceptor = Acceptor(saved.promised, saved.accepted)
        self._note(self._acceptor.promised)

    def _restate_vote(self) -> None:
        """The last acceptance, unchanged (law 8)."""
        vote = self._acceptor.accepted
        if vote is not None and self._can_speak:
            self._say_accepted(vote.ballot, vote.block_id)

    def _say_accepted(self, ballot: Ballot, block: BlockId) -> None:
        """To the learners; an engine may narrow who they are (section 2.3)."""
        self._broadcast(Accepted(ballot, self._height, block, self._me))

    # ------------------------------------------------------------- a record that was lost

    def _hear_told(self, member: NodeId, height: int, promised: Ballot) -> None:
        """A lost record: silent until every other member said how far it is, and longer.

        What this node promised or accepted was under a ballot that its proposer has promised too,
        durably, and at a height whose parent some other member knows to be final. So the highest
        ballot of *all* others is at least its own lost promise; and it lost no vote above the
        highest open height by more than one. It votes again when both of those are final.
        """
        if not self._record_lost or member == self._me:
            return
        known_height, known = self._told.get(member, (0, NO_BALLOT))
        self._told[member] = (max(height, known_height), max(promised, known))
        others = [one.address for one in self._members.voters if one.address != self._me]
        if self._listen_until is None and others and all(one in self._told for one in others):
            heights = [self._told[one][0] for one in others]
            self._listen_until = max(self._height, *heights) + HEIGHTS_IN_FLIGHT

    def _try_speak_again(self) -> bool:
        until = self._listen_until
        if not self._record_lost or until is None or self._height <= until:
            return False
        self._record_lost = False
        if self._keeps_promises:
            for _, promised in self._told.values():
                self._acceptor.prepare(promised)
                self._note(promised)
        self._told = {}
        self._emit(Trace("record-restored", {"height": self._height}))
        return True

    # ------------------------------------------------------------------------------ deciding

    def _learn(self, certificate: Certificate) -> None:
        if certificate.height < self._height or self._conflict:
            return
        if self._pending is None or self._pending.height < certificate.height:
            self._pending = certificate

    def _try_decide(self) -> bool:
        """A majority of acceptances, or a certificate of them, decides a known block."""
        if self._conflict or not len(self._members):
            return False
        if self._pending is not None and self._pending.height < self._height:
            self._pending = None
        unknown = None
        for certificate in (self._learner.chosen(self._members), self._pending):
            if certificate is None:
                continue
            if not self._view.knows(certificate.block_id):
                unknown = certificate
            elif self._is_next(certificate):
                self._decide(self._view.header(certificate.block_id), certificate)
                return True
        if unknown is not None and self._importing != unknown.block_id:
            self._fetch(unknown.block_id, unknown.accepts[0].acceptor)
        return False

    def _is_next(self, certificate: Certificate) -> bool:
        """Whether a certificate of a known block moves finality on. One that lies is dropped."""
        view = self._view
        head = view.header(certificate.block_id)
        is_sound = head.height == certificate.height
        try:
            if is_sound:
                check_certificate(certificate, view.validators(head.previous))
        except InvalidProof:
            is_sound = False
        if is_sound and not view.descends(head.id, self._final):
            self._conflict, is_sound = True, False
            self._emit(Trace("conflicting-finality", {"height": head.height}))
        if not is_sound and certificate is self._pending:
            self._pending = None
        return is_sound

    def _decide(self, head: BlockHead, certificate: Certificate) -> None:
        self._decided = certificate
        self._note(certificate.ballot)
        self._open(head.id)
        self._restore_saved()
        self._settled_ms = self._now.steady_ms
        self._waiting = 0  # the node says again what waits after SetHead
        self._emit(SetHead(head.id))
        self._emit(Finalize(head.id, certificate.proof(self._engine)))
        ballot = certificate.ballot
        self._emit(Trace("decided", {"height": head.height, "round": ballot.round}))
        self._opened(certificate)
        for sender, early in self._early_messages():
            self._receive_early(sender, early)

    def _opened(self, decided: Certificate) -> None:
        """For engines: the height of ``decided`` is over."""

    # -------------------------------------------------------------------- what comes too early

    def _keep_early(self, sender: NodeId, height: int, message: Message) -> None:
        """Messages for the next height wait for it; from further on only the news counts."""
        if height == self._height + 1:
            self._early[(sender, type(message))] = (height, message)
        if sender != self._me:
            self._ask_for_news(sender)

    def _early_messages(self) -> list[tuple[NodeId, Message]]:
        kept, self._early = self._early, {}
        return [
            (sender, message)
            for (sender, _), (height, message) in kept.items()
            if height == self._height and sender in self._members
        ]

    def _receive_early(self, sender: NodeId, message: Message) -> None:
        """For engines: a kept message, whose height is open now."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------ accepting

    def _on_offer(self, sender: NodeId, message: Accept) -> None:
        """Phase 2a at the open height: keeps what is asked until the block is executed."""
        self._note(message.ballot)
        if message.ballot < self._acceptor.promised:
            if self._can_speak:
                self._refuse(message.ballot)
            return
        if self._offered is None or self._offered.ballot <= message.ballot:
            self._offered = Offer(message.ballot, message.block_id)
            self._importing = None
            if message.block is not None:
                self._body = message.block

    def _try_accept(self) -> bool:
        """Phase 2b: accept iff no higher ballot was promised, durably, then say so."""
        offer = self._offered
        if offer is None or not self._can_speak:
            return False
        if not self._view.knows(offer.block_id):
            self._obtain(offer.block_id, offer.ballot.node)
            return False
        self._offered = None
        if self._view.header(offer.block_id).previous != self._final:
            self._emit(Report(peer=offer.ballot.node, reason="another-parent"))
            return True
        if self._acceptor.accept(offer.ballot, offer.block_id):
            self._write(offer.block_id)
            self._say_accepted(offer.ballot, offer.block_id)
        else:
            self._refuse(offer.ballot)
        return True

    def _obtain(self, block: BlockId, holder: NodeId) -> None:
        """Gets a proposed block imported: from the body that came along, else from its holder."""
        body = self._body
        if body is not None and body.id == block:
            if self._importing != block:
                self._importing = block
                self._emit(Import(body, "proposal"))
        else:
            self._fetch(block, holder)

    def _on_rejected(self, block: BlockId, origin: Origin) -> None:
        if self._built is not None and block == self._built.id:
            self._built = None
            self._emit(Trace("own-block-rejected", {"height": self._height}))
        offer = self._offered
        if offer is not None and offer.block_id == block and origin == "proposal":
            self._offered = self._importing = self._body = None
            self._emit(Report(peer=offer.ballot.node, reason="invalid-block"))

    # ------------------------------------------------------------------------------ building

    def _build(self, *, at_once: bool = False) -> None:
        """Asks for a block on the final one; ``at_once``: an empty one rather than wait."""
        if self._building and (self._hurrying or not at_once):
            return
        self._building, self._hurrying = True, at_once
        deadline_ms = 0 if at_once else self._timing.heartbeat_ms or None
        self._emit(
            Build(
                BUILD_REQUEST,
                self._final,
                b"",
                deadline_ms=deadline_ms,
                may_be_empty=deadline_ms is not None,
            )
        )

    def _on_built(self, request: int, block: Block | None) -> None:
        if request != BUILD_REQUEST or not self._building:
            return
        self._building = self._hurrying = False
        if block is not None and block.previous == self._final:
            self._built = block
            if not self._view.knows(block.id):
                self._emit(Import(block, "own"))

    # ------------------------------------------------------------------- fetching and helping

    def _fetch(self, block: BlockId, hint: NodeId | None) -> None:
        """Asks for a block and its ancestors, at most once in each resend pause."""
        now_ms = self._now.steady_ms
        if self._fetched is not None:
            asked, at_ms = self._fetched
            pause = now_ms - at_ms < self._timing.resend_ms
            if pause and (asked == block or at_ms == now_ms):
                return
        self._fetched = (block, now_ms)
        self._emit(Fetch((block,), None if hint == self._me else hint))

    def _is_due(self, table: dict[NodeId, int], member: NodeId) -> bool:
        """Whether ``member`` was last served longer than a resend pause ago; counts as served."""
        now_ms, last_ms = self._now.steady_ms, table.get(member)
        if last_ms is not None and now_ms - last_ms < self._timing.resend_ms:
            return False
        table[member] = now_ms
        return True

    def _help(self, member: NodeId) -> None:
        """Tells a member that speaks from a lower height what was decided.

        Not within half a resend pause of the decision itself: then its message was merely late.
        """
        settled_ms = self._now.steady_ms - self._settled_ms
        if member == self._me or self._syncing or self._decided is None:
            return
        if settled_ms >= self._timing.resend_ms // 2 and self._is_due(self._helped_ms, member):
            self._send(member, Decided(self._decided))

    def _ask_for_news(self, member: NodeId) -> None:
        """A member speaks of a higher height: it has the certificate of this one."""
        if not self._syncing and self._is_due(self._asked_ms, member):
            self._send(member, Ask(0, self._height))

    def _announce(self, producer: NodeId | None) -> None:
        """Tells the node where to push waiting transactions, when that changes."""
        if producer != self._producer:
            self._producer = producer
            self._emit(SetProducer(producer))
