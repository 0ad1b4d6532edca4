"""Multi-Paxos: Paxos with one leader for many heights (Paxos Made Simple, section 3; Chandra,
Griesemer, Redstone, "Paxos Made Live", PODC 2007).

Acceptor, learner, ballots and the way up the chain are those of ``consensus.paxos``; here is what a
stable leader adds:

* Phase 1 once, for all heights from the leader's own on. An acceptor answers with its open height,
  what it accepted there and the certificate of the block below: so what was chosen already is part
  of the answer. A new leader gets up to the highest of them and finishes the open height first.
* One undecided height at a time, each block naming its parent: there are no gaps to fill.
* A lease: acceptors promise nothing to others for a while after each renewal. It keeps the peace,
  and lets the leader answer reads by itself.
* Before it uses up a ballot a node canvasses: whoever was merely cut off, or cannot hear the
  leader while others do, deposes nobody when it comes back.
* A leader that a majority has not answered for two leases resigns, so that another can try.
"""

from __future__ import annotations

import random
from typing import Final

from chain.errors import InvalidMessage
from chain.hashing import BlockId
from chain.validators import majority
from chain.view import ChainView
from consensus.contract import (
    BlockBuilt,
    BlockRejected,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    Message,
    MessageReceived,
    NodeId,
    Now,
    ProofSeen,
    ReadRequested,
    RequestId,
    ServeRead,
    SetTimer,
    Started,
    Stop,
    StopRequested,
    SyncChanged,
    TimerFired,
    TimerKey,
    Trace,
    TransactionsWaiting,
)
from consensus.multipaxos.lease import LeaderLease
from consensus.multipaxos.leaving import TRANSFER_TIMER, Leaving
from consensus.multipaxos.messages import Canvass, Grant, Release, Renewal, Support
from consensus.paxos.ballot import Ballot, next_ballot
from consensus.paxos.conversation import ASK_TIMER, check_owner
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Certificate,
    Decided,
    Prepare,
    Promise,
    Refusal,
)

ELECTION_TIMER: Final = "election"
RENEWAL_TIMER: Final = "renewal"
LEADS: Final = "leads"
"""The trace of a node that a majority has promised its ballot to."""
LEASES_UNANSWERED_MAX: Final = 2
"""Leases without a majority's answer after which a leader resigns: acceptors that only it can
reach stay bound to it for as long as it goes on."""
LEASES_STUCK_MAX: Final = 4
"""Leases that a leader may spend on getting what its promises bind it to; then the holder of that
block is perhaps gone, and other promises may leave it free."""


class MultiPaxosEngine(Leaving):
    """An acceptor that may become the leader; an observer where ``me`` has no vote."""

    def __init__(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> None:
        super().__init__(me, config, rng, record)

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        """One event in, effects out, in order."""
        self._view, self._now, self._effects = view, now, []
        match event:
            case Started():
                self._begin(event.syncing)
            case MessageReceived():
                if not self._hear(event.sender, event.message):
                    return self._effects
            case BlockBuilt():
                self._on_built(event.request, event.block)
            case BlockRejected():
                self._on_rejected(event.block, event.origin)
            case TimerFired():
                self._on_timer(event.key)
            case TransactionsWaiting():
                self._waiting = event.count
            case ProofSeen():
                self._on_proof(event)
            case SyncChanged():
                self._syncing = event.syncing
                self._restate_vote()
            case ReadRequested():
                self._on_read(event.request)
            case CommandGiven():
                self._on_command(event.request, event.name, event.arguments)
            case StopRequested():
                self._abandon_transfer()
                self._hand_over(self._best_successor())
                self._emit(Stop())
            case _:
                pass  # BlockImported changes what the view knows; the rules below look there
        self._advance()
        return self._effects

    def _begin(self, syncing: bool) -> None:
        self._start(syncing)
        if self._record_lost or self._loaded.promised.round:
            # It may have granted a lease right before it stopped; to whom is forgotten.
            self._granted.quarantine(self._now.steady_ms + self._parameters.lease_ms)
        self._restate_vote()

    # ------------------------------------------------------------------------------ the rules

    def _advance(self) -> None:
        """Applies the first rule that can be applied, until none can."""
        while (
            self._try_decide()
            or self._try_speak_again()
            or self._try_accept()
            or self._try_resign()
            or self._try_prepare()
            or self._try_lead()
            or self._try_propose()
            or self._try_read()
            or self._try_settle_transfer()
        ):
            pass
        if self._may_build():
            self._build()
        self._announce(self._known_leader())
        self._set_timers()
        self._set_ask_timer()

    def _may_build(self) -> bool:
        return (
            self._leading
            and self._can_speak
            and self._built is None
            and self._proposer.proposed is None
            and self._is_up_to_date()
            and self._proposer.bound_to(self._height) is None
        )

    def _is_up_to_date(self) -> bool:
        """Whether everything that the promises showed to be chosen is final here."""
        return self._height >= self._proposer.open_height()

    # ---------------------------------------------------------------------------- elections

    def _on_timer(self, key: TimerKey) -> None:
        match key[0]:
            case name if name == ASK_TIMER:
                self._on_ask_timer(key)
            case name if name == ELECTION_TIMER:
                if key == self._election_timer:
                    self._election_timer = None
                    self._on_election_timeout()
            case name if name == RENEWAL_TIMER:
                if key == self._renewal_timer:
                    self._renewal_timer = None
                    self._on_renewal_due()
            case name if name == TRANSFER_TIMER:
                self._on_transfer_timer()

    def _on_election_timeout(self) -> None:
        """The lease ran out, or the last attempt came to nothing: asks for support."""
        if self._leading or not self._can_speak:
            return
        if self._proposer.ballot is not None:
            self._failures += 1
            self._proposer.abandon()
        bound = self._granted.binds_against(self._me, self._now.steady_ms)
        if not bound and not self._floor_is_taken(self._me):
            self._start_canvass()

    def _start_canvass(self) -> None:
        """Uses up no ballot: a node that nobody supports leaves no trace (section 2.4)."""
        self._leader = None
        self._canvass = next_ballot(self._me, (self._seen, self._acceptor.promised))
        self._supporters = {}
        self._broadcast(Canvass(self._canvass, self._height))
        self._emit(Trace("canvass", {"height": self._height, "round": self._canvass.round}))

    def _on_canvass(self, sender: NodeId, message: Canvass) -> None:
        check_owner(sender, message.ballot)
        if message.height < self._height:
            self._help(sender)
        if not self._can_speak:
            return
        bound = self._granted.binds_against(sender, self._now.steady_ms)
        if bound or self._floor_is_taken(sender) or message.ballot <= self._acceptor.promised:
            self._refuse(message.ballot)
        else:
            self._send(sender, Support(message.ballot))

    def _floor_is_taken(self, node: NodeId) -> bool:
        """Whether another candidate was promised a ballot so recently that it may still win."""
        taken = self._floor
        if taken is None or taken[0] == node:
            return False
        return self._now.steady_ms < taken[1]

    def _give_floor(self, node: NodeId) -> None:
        """Nobody else is supported for a while (section 2.4), nor stands."""
        self._floor = (node, self._now.steady_ms + self._parameters.election_ms)

    def _leave_floor(self, node: NodeId) -> None:
        """A candidate has a promise: the floor is its."""
        self._give_floor(node)
        if node != self._me:
            self._canvass = None
        self._cancel_election()

    def _on_support(self, sender: NodeId, message: Support) -> None:
        if message.ballot == self._canvass:
            self._supporters[sender] = None

    def _try_prepare(self) -> bool:
        """A majority would promise: now the ballot is used, for all heights from here on."""
        if self._canvass is None:
            return False
        if self._leading or not self._can_speak:
            self._canvass = None
            return True
        if not self._members.decided_by(self._supporters, majority):
            return False
        self._canvass = None
        if not self._granted.binds_against(self._me, self._now.steady_ms):
            self._begin_ballot()
        return True

    def _begin_ballot(self) -> None:
        """Phase 1a. The own acceptor has the promise on disk first: no ballot is used twice."""
        ballot = next_ballot(self._me, (self._seen, self._acceptor.promised))
        self._note(ballot)
        self._leading = False
        self._built = None
        self._proposer.begin(ballot)
        promised = self._acceptor.prepare(ballot)
        assert promised, "the own ballot is above all promises"
        self._write()
        self._broadcast(Prepare(ballot, self._height))
        self._emit(Trace("prepare", {"height": self._height, "round": ballot.round}))
        self._leave_floor(self._me)

    def _on_prepare(self, sender: NodeId, message: Prepare) -> None:
        """Phase 1b, for all heights: promise, or say what stands against it."""
        if message.height < self._height:
            self._help(sender)
        elif message.height > self._height:
            self._ask_for_news(sender)
        self._note(message.ballot)
        if not self._can_speak:
            return
        bound = self._granted.binds_against(sender, self._now.steady_ms)
        if bound or not self._acceptor.prepare(message.ballot):
            self._refuse(message.ballot)
            return
        self._write()
        self._leave_floor(sender)
        # What is chosen already belongs to the answer: the certificate stands for all of it.
        decided = self._decided if message.height < self._height else None
        accepted = self._acceptor.accepted
        self._send(sender, Promise(message.ballot, self._height, accepted, decided))

    def _on_promise(self, sender: NodeId, message: Promise) -> None:
        if message.ballot != self._proposer.ballot:
            return
        if message.decided is not None:
            self._on_decided(sender, message.decided)
        elif message.height > self._height:
            self._ask_for_news(sender)
        self._proposer.hear(sender, message)

    def _on_refusal(self, sender: NodeId, message: Refusal) -> None:
        self._note(message.promised)
        if message.height > self._height:
            self._ask_for_news(sender)
        if message.ballot != self._proposer.ballot or message.promised <= message.ballot:
            return
        if not self._leading:
            self._failures += 1
            self._proposer.abandon()
            self._cancel_election()
        elif self._holds_lease():
            # A single acceptor was talked into a higher ballot. The leader is healthy and stays:
            # it takes a higher one itself, which those bound to it will promise.
            self._begin_ballot()

    def _try_lead(self) -> bool:
        """A majority has promised: the leader of all heights from here on (section 3)."""
        proposer = self._proposer
        if self._leading or proposer.ballot is None or not self._can_speak:
            return False
        if not proposer.has_majority(self._members):
            return False
        self._leading, self._leader = True, self._me
        self._failures = 0
        self._lease = LeaderLease(self._now.steady_ms)
        self._heights = {}
        self._cancel_election()
        fields = {"height": self._height, "round": proposer.ballot.round}
        self._emit(Trace(LEADS, fields))
        self._renew()
        return True

    def _try_resign(self) -> bool:
        """A higher ballot was promised here, or this node may not speak any more."""
        ballot = self._proposer.ballot
        if ballot is None or (self._can_speak and self._acceptor.promised <= ballot):
            return False
        self._resign("deposed")
        return True

    def _resign(self, reason: str) -> None:
        if self._leading:
            self._emit(Trace("resigned", {"height": self._height, "reason": reason}))
            self._leader = None
        self._leading = False
        self._built = None
        self._building = self._hurrying = False
        self._proposer.abandon()

    # ----------------------------------------------------------------------------- the lease

    def _on_renewal_due(self) -> None:
        """Each pause: ask for another lease, say again what is not answered, or resign."""
        if not self._leading:
            return
        now_ms, lease_ms = self._now.steady_ms, self._parameters.lease_ms
        since_ms = max(self._lease.began_ms, self._lease.since_ms(self._members) or 0)
        if now_ms - since_ms > LEASES_UNANSWERED_MAX * lease_ms:
            self._failures += 1
            self._resign("no majority answers")
            return
        if self._is_stuck():
            self._resign("what it is bound to cannot be had")
            return
        self._renew()
        self._ask_again()

    def _is_stuck(self) -> bool:
        """Whether it waits too long for a block that it did not make itself."""
        if self._proposer.proposed is not None or self._may_build() or self._built is not None:
            return False
        if self._proposer.bound_to(self._height) is None and self._is_up_to_date():
            return False
        since_ms = max(self._lease.began_ms, self._settled_ms)
        return self._now.steady_ms - since_ms > LEASES_STUCK_MAX * self._parameters.lease_ms

    def _renew(self) -> None:
        ballot = self._proposer.ballot
        assert ballot is not None
        self._broadcast(Renewal(ballot, self._now.steady_ms, self._height))

    def _ask_again(self) -> None:
        """2a again to those who have not answered; without the body, which they may fetch."""
        ballot, block = self._proposer.ballot, self._proposer.proposed
        if ballot is None or block is None:
            return
        if self._now.steady_ms - self._proposed_ms < self._parameters.renew_ms:
            return
        answered = self._learner.voters(ballot, block)
        for member in self._members.voters:
            if member.address not in answered:
                self._send(member.address, Accept(ballot, self._height, block))

    def _on_renewal(self, sender: NodeId, message: Renewal) -> None:
        """Grants a lease. The ballot is promised, durably, before: see ``GrantedLease.grant``."""
        check_owner(sender, message.ballot)
        self._note(message.ballot)
        if message.height > self._height:
            self._ask_for_news(sender)
        if not self._can_speak:
            return
        if not self._acceptor.prepare(message.ballot):
            self._refuse(message.ballot)
            return
        self._write()
        self._leader, self._canvass = sender, None
        self._failures = 0
        self._granted.grant(message.ballot, self._now.steady_ms, self._parameters.lease_ms)
        self._send(sender, Grant(message.ballot, message.sent_ms, self._height))

    def _on_grant(self, sender: NodeId, message: Grant) -> None:
        if not self._leading or message.ballot != self._proposer.ballot:
            return
        if message.sent_ms > self._now.steady_ms:
            raise InvalidMessage("from-the-future", "a renewal was granted that was never sent")
        self._lease.hear(sender, message.sent_ms)
        self._heights[sender] = message.height
        if message.height < self._height:
            self._help(sender)

    def _holds_lease(self) -> bool:
        """Whether nobody else can have been promised a ballot by a majority, at this moment."""
        lease_ms = self._parameters.leader_lease_ms
        return self._leading and self._lease.holds(self._members, self._now.steady_ms, lease_ms)

    @property
    def leads_under(self) -> Ballot | None:
        """The ballot under which this node leads; None: it does not."""
        return self._proposer.ballot if self._leading else None

    def holds_lease(self, now: Now) -> bool:
        """Whether it may answer reads by itself at this moment of its own clock."""
        self._now = now
        return self._holds_lease()

    # ----------------------------------------------------------------------------- proposing

    def _try_propose(self) -> bool:
        """Phase 2a. What the promises bind comes first, then blocks of its own (section 3)."""
        proposer = self._proposer
        ballot = proposer.ballot
        if not self._leading or ballot is None or not self._can_speak:
            return False
        if not self._is_up_to_date() or proposer.proposed is not None:
            return False
        if not proposer.has_majority(self._members):
            # The members changed: both phases of a height need majorities of one set.
            self._begin_ballot()
            return True
        block = self._value(ballot)
        if block is None:
            return False
        proposer.proposed = block
        self._proposed_ms = self._now.steady_ms
        # Sent before the own acceptor has it on disk: the ballot is durable, and never used again.
        self._broadcast(Accept(ballot, self._height, block, self._body_of(block)))
        return True

    def _value(self, ballot: Ballot) -> BlockId | None:
        """What to propose at the open height; None: it is not here yet."""
        bound = self._proposer.bound_to(self._height)
        if bound is not None:
            if self._view.knows(bound.block_id):
                return bound.block_id
            self._obtain(bound.block_id, self._proposer.witness(bound) or ballot.node)
            return None
        built = self._built
        return built.id if built is not None and self._view.knows(built.id) else None

    def _say_accepted(self, ballot: Ballot, block: BlockId) -> None:
        """To the leader, the distinguished learner (section 2.3), which tells the others."""
        self._send(ballot.node, Accepted(ballot, self._height, block, self._me))

    def _opened(self, decided: Certificate) -> None:
        self._proposer.proposed = None
        if self._leading and decided.ballot == self._proposer.ballot:
            self._broadcast(Decided(decided))

    # -------------------------------------------------------------------- reads and commands

    def _try_read_alone(self, request: RequestId) -> bool:
        """Under a lease the leader knows all that is decided: nobody else can decide anything.

        What its promises bind it to may be decided already, so a read waits for that.
        """
        if not self._holds_lease():
            return False
        opened = self._proposer.open_height()
        bound = self._proposer.bound_to(opened) is not None
        height = max(self._height - 1, opened if bound else opened - 1)
        self._emit(ServeRead(request, height))
        return True

    def _receive(self, sender: NodeId, message: Message) -> None:
        match message:
            case Canvass():
                self._on_canvass(sender, message)
            case Support():
                self._on_support(sender, message)
            case Renewal():
                self._on_renewal(sender, message)
            case Grant():
                self._on_grant(sender, message)
            case Release():
                self._on_release(sender, message)
            case _:
                super()._receive(sender, message)

    def _on_release(self, sender: NodeId, message: Release) -> None:
        check_owner(sender, message.ballot)
        if not self._granted.release(message.ballot, self._now.steady_ms):
            return
        self._leader = None
        self._give_floor(message.successor)
        self._cancel_election()
        if message.successor == self._me and self._can_speak and not self._leading:
            self._start_canvass()

    def _hand_over(self, successor: NodeId | None) -> bool:
        """Gives the lease back, so that another can lead at once."""
        ballot = self._proposer.ballot
        if not self._leading or ballot is None or successor is None:
            return False
        self._broadcast(Release(ballot, successor))
        self._resign("handed over")
        self._give_floor(successor)
        return True

    # --------------------------------------------------------------------------------- timers

    def _set_timers(self) -> None:
        if self._leading and self._renewal_timer is None:
            self._timers += 1
            self._renewal_timer = (RENEWAL_TIMER, self._timers)
            self._emit(SetTimer(self._renewal_timer, self._parameters.renew_ms))
        elif not self._leading and self._renewal_timer is not None:
            self._emit(CancelTimer(self._renewal_timer))
            self._renewal_timer = None
        if self._leading or not self._can_speak:
            self._cancel_election()
        elif self._election_timer is None:
            self._timers += 1
            self._election_timer = (ELECTION_TIMER, self._timers)
            self._emit(SetTimer(self._election_timer, self._election_delay_ms()))

    def _election_delay_ms(self) -> int:
        """Random on each try (section 2.4), after the lease; an attempt has at least a pause."""
        pause_ms = self._parameters.pause_ms(self._failures)
        wait_ms = max(0, self._granted.until_ms - self._now.steady_ms)
        if self._floor_is_taken(self._me) and self._floor is not None:
            wait_ms = max(wait_ms, self._floor[1] - self._now.steady_ms)
        if self._proposer.ballot is not None or self._canvass is not None:
            wait_ms = max(wait_ms, pause_ms)
        return wait_ms + self._rng.randint(1, pause_ms)

    def _cancel_election(self) -> None:
        if self._election_timer is not None:
            self._emit(CancelTimer(self._election_timer))
            self._election_timer = None
