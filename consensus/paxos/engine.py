"""Paxos as Lamport describes it: the Synod, one decree a height, and any node proposes.

Every node is a proposer, an acceptor and a learner; each role is a small class of its own
(``proposer``, ``acceptor``, ``learner``), and this file only joins them. Where we differ from
"Paxos Made Simple" (2001):

* An instance is a height. One is open at a time, since its block names the one below; ballots and
  promises begin anew at each height.
* A node proposes when a transaction waits, when somebody reads, and also when it accepted a block
  that nobody finishes.
* Instead of a distinguished proposer (section 2.4) there is chance: who has something to propose
  waits a random moment, and whoever hears of a higher ballot leaves it the floor for a random,
  doubling pause. ``consensus.multipaxos`` has the distinguished proposer.
* Acceptors tell all learners (section 2.3), and sign what they accepted: a majority of those
  signatures is the proof of the block.
"""

from __future__ import annotations

import random
from typing import Final

from chain.view import ChainView
from consensus.contract import (
    Answer,
    BlockBuilt,
    BlockRejected,
    CancelTimer,
    CommandGiven,
    Effect,
    EngineConfig,
    Event,
    MessageReceived,
    NodeId,
    Now,
    ProofSeen,
    ReadRequested,
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
from consensus.paxos.ballot import NO_BALLOT, next_ballot
from consensus.paxos.conversation import ASK_TIMER
from consensus.paxos.messages import Accept, Certificate, Prepare, Promise, Refusal
from consensus.paxos.parameters import PaxosParameters
from consensus.paxos.participant import Timing
from consensus.paxos.status import Spokesman

NAME: Final = "paxos"
TRY_TIMER: Final = "try"


class PaxosEngine(Spokesman):
    """A node of the Synod; an observer where ``me`` has no vote."""

    def __init__(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> None:
        assert isinstance(config.parameters, PaxosParameters)
        parameters = config.parameters
        timing = Timing(parameters.retry_ms, parameters.heartbeat_ms)
        super().__init__(NAME, me, rng, record, timing, keeps_promises=False)
        self._parameters: PaxosParameters = parameters
        self._failures = 0
        self._tries = 0
        self._timer: TimerKey | None = None
        self._armed_under = NO_BALLOT
        """The highest ballot heard of when the timer was set; a higher one sets it anew."""
        self._finish_height = 0
        """Somebody waits until this height is final: it is proposed even if nothing waits."""

    def handle(self, event: Event, view: ChainView, now: Now) -> list[Effect]:
        """One event in, effects out, in order."""
        self._view, self._now, self._effects = view, now, []
        match event:
            case Started():
                self._start(event.syncing)
                self._restate_vote()
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
                self._emit(Answer(event.request, f"refused: paxos knows no {event.name!r}"))
            case StopRequested():
                self._emit(Stop())
            case _:
                pass  # BlockImported changes what the view knows; the rules below look there
        self._advance()
        return self._effects

    def _on_timer(self, key: TimerKey) -> None:
        if key[0] == ASK_TIMER:
            self._on_ask_timer(key)
        elif key == self._timer:
            self._timer = None
            if self._has_reason() and self._can_speak:
                self._begin_ballot()

    # ------------------------------------------------------------------------------ the rules

    def _advance(self) -> None:
        """Applies the first rule that can be applied, until none can."""
        while (
            self._try_decide()
            or self._try_speak_again()
            or self._try_accept()
            or self._try_give_way()
            or self._try_propose()
            or self._try_read()
        ):
            pass
        if self._can_speak and self._built is None:
            self._build()
        self._set_try_timer()
        self._set_ask_timer()

    def _has_reason(self) -> bool:
        """Whether this node wants the open height to be decided, and could propose."""
        return (
            self._built is not None
            or self._acceptor.accepted is not None
            or self._finish_height >= self._height
        )

    def _begin_ballot(self) -> None:
        """Phase 1a: a ballot of its own above all that were heard of, promised before it is said.

        Its own acceptor has the promise on disk first, so the ballot is never used twice.
        """
        ballot = next_ballot(self._me, (self._seen, self._acceptor.promised))
        if self._proposer.ballot is not None:
            self._failures += 1
        self._note(ballot)
        self._proposer.begin(ballot)
        promised = self._acceptor.prepare(ballot)
        assert promised, "the own ballot is above all promises"
        self._write()
        self._broadcast(Prepare(ballot, self._height))
        self._emit(Trace("prepare", {"height": self._height, "round": ballot.round}))

    def _on_prepare(self, sender: NodeId, message: Prepare) -> None:
        """Phase 1b: promise, or say which higher ballot stands against it (section 2.2)."""
        if message.height < self._height:
            self._help(sender)
            return
        if message.height > self._height:
            self._keep_early(sender, message.height, message)
            return
        self._note(message.ballot)
        if not self._can_speak:
            return
        if not self._acceptor.prepare(message.ballot):
            self._refuse(message.ballot)
            return
        self._write()
        self._send(sender, Promise(message.ballot, self._height, self._acceptor.accepted))

    def _on_promise(self, sender: NodeId, message: Promise) -> None:
        if message.height == self._height:
            self._proposer.hear(sender, message)

    def _on_refusal(self, sender: NodeId, message: Refusal) -> None:
        if message.height == self._height:
            self._note(message.promised)
        elif message.height > self._height:
            self._ask_for_news(sender)

    def _try_give_way(self) -> bool:
        """A higher ballot is under way: this one cannot win, so it leaves the floor (2.4)."""
        ballot = self._proposer.ballot
        if ballot is None or ballot >= self._seen:
            return False
        self._proposer.abandon()
        self._failures += 1
        self._emit(Trace("gave-way", {"height": self._height, "round": ballot.round}))
        return True

    def _try_propose(self) -> bool:
        """Phase 2a: a majority promised. Its highest vote binds the choice, else it is free."""
        proposer = self._proposer
        ballot = proposer.ballot
        if ballot is None or proposer.proposed is not None or not self._can_speak:
            return False
        if not proposer.has_majority(self._members):
            return False
        bound = proposer.bound_to(self._height)
        if bound is not None:
            block = bound.block_id
            if not self._view.knows(block):
                self._obtain(block, proposer.witness(bound) or ballot.node)
                return False
        elif self._built is None or not self._view.knows(self._built.id):
            self._build(at_once=True)
            return False
        else:
            block = self._built.id
        proposer.proposed = block
        self._broadcast(Accept(ballot, self._height, block, self._body_of(block)))
        return True

    def _opened(self, decided: Certificate) -> None:
        self._proposer = type(self._proposer)()
        self._failures = 0
        self._cancel_timer()

    def _must_finish(self, height: int) -> None:
        self._finish_height = max(self._finish_height, height)

    # ------------------------------------------------------------------------------ the timer

    def _set_try_timer(self) -> None:
        """Runs while this node wants a decision: until its first ballot, and from each to the next.

        At first it is a short random moment; once another ballot was heard of, or an own one
        failed, it is a pause that doubles with each failure, and as much again by chance.
        """
        if not self._can_speak or not self._has_reason():
            self._cancel_timer()
            return
        if self._timer is not None:
            if self._seen == self._armed_under:
                return
            self._cancel_timer()
        if self._seen.round == 0:
            delay_ms = self._rng.randint(0, self._parameters.spread_ms)
        else:
            pause_ms = self._parameters.pause_ms(self._failures)
            delay_ms = pause_ms + self._rng.randint(0, pause_ms)
        self._tries += 1
        self._timer, self._armed_under = (TRY_TIMER, self._height, self._tries), self._seen
        self._emit(SetTimer(self._timer, delay_ms))

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._emit(CancelTimer(self._timer))
            self._timer = None
