"""What a participant does with messages that both engines share, and with reads.

A bad message changes nothing (contract, law 4): every check stands before the first change. Who
speaks is known by the channel; nobody speaks for another, and an observer is not heard at all.
"""

from __future__ import annotations

import random
from typing import Final

from chain.block import Block
from chain.errors import InvalidMessage, InvalidProof
from chain.hashing import BlockId
from consensus.contract import (
    Answer,
    CancelTimer,
    Message,
    NodeId,
    ProofSeen,
    Report,
    RequestId,
    ServeRead,
    SetTimer,
    TimerKey,
)
from consensus.paxos.ballot import Ballot
from consensus.paxos.messages import (
    Accept,
    Accepted,
    Ask,
    Certificate,
    Decided,
    Prepare,
    Promise,
    Refusal,
    Tell,
    check_certificate,
    parse_proof,
)
from consensus.paxos.participant import Participant, Timing
from consensus.paxos.reads import QuorumReads

ASK_TIMER: Final = "ask"


class Conversation(Participant):
    """Receives messages, and asks and answers how far everybody is."""

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
        super().__init__(engine, me, rng, record, timing, keeps_promises=keeps_promises)
        # Numbers begin anywhere, so that an answer to an earlier life is none to this one.
        self._reads = QuorumReads(rng.getrandbits(40))
        self._ask_armed = False

    # ------------------------------------------------------------------------------ receiving

    def _hear(self, sender: NodeId, message: Message) -> bool:
        """Judges and keeps a message; False, and a Report, where it is a bad one."""
        try:
            if isinstance(message, Decided):
                self._on_decided(sender, message.certificate)
            elif sender in self._members:
                self._heard_ms[sender] = self._now.steady_ms
                self._receive(sender, message)
        except InvalidMessage as fault:
            self._emit(Report(peer=sender, reason=fault.code))
            return False
        return True

    def _receive(self, sender: NodeId, message: Message) -> None:
        """From a voter of the open height. Raises InvalidMessage."""
        match message:
            case Prepare():
                check_owner(sender, message.ballot)
                self._on_prepare(sender, message)
            case Promise():
                self._on_promise(sender, message)
            case Refusal():
                self._on_refusal(sender, message)
            case Accept():
                check_owner(sender, message.ballot)
                self._on_accept(sender, _checked(message))
            case Accepted():
                self._on_accepted(sender, message)
            case Ask():
                self._on_ask(sender, message)
            case Tell():
                self._on_tell(sender, message)
            case _:
                raise AssertionError(f"the gate let a {type(message).__name__} through")

    def _receive_early(self, sender: NodeId, message: Message) -> None:
        self._receive(sender, message)

    def _on_prepare(self, sender: NodeId, message: Prepare) -> None:
        raise NotImplementedError

    def _on_promise(self, sender: NodeId, message: Promise) -> None:
        raise NotImplementedError

    def _on_refusal(self, sender: NodeId, message: Refusal) -> None:
        raise NotImplementedError

    def _on_accept(self, sender: NodeId, message: Accept) -> None:
        if message.height < self._height:
            self._help(sender)
        elif message.height > self._height:
            self._keep_early(sender, message.height, message)
        else:
            self._on_offer(sender, message)

    def _on_accepted(self, sender: NodeId, message: Accepted) -> None:
        if message.acceptor != sender:
            raise InvalidMessage("another-acceptor", "nobody accepts for another")
        if message.height < self._height:
            self._help(sender)
        elif message.height > self._height:
            self._keep_early(sender, message.height, message)
        else:
            self._note(message.ballot)
            self._learner.hear(message)

    def _on_decided(self, peer: NodeId, certificate: Certificate) -> None:
        if certificate.height < self._height:
            return
        try:
            check_certificate(certificate, self._members)
        except InvalidProof as error:
            if certificate.height == self._height:
                raise InvalidMessage(f"decided-{error.code}", error.sentence) from None
            # Another set may decide that height; sync will know when the headers are here.
            self._fetch(certificate.block_id, peer)
            return
        self._learn(certificate)
        if not self._view.knows(certificate.block_id):
            self._fetch(certificate.block_id, peer)

    def _on_proof(self, event: ProofSeen) -> None:
        try:
            self._learn(parse_proof(self._engine, event.proof))
        except InvalidProof as error:
            raise AssertionError("a checked proof that is none of ours") from error

    # ------------------------------------------------------------------- how far is everybody?

    def _on_ask(self, sender: NodeId, message: Ask) -> None:
        if self._syncing:
            return
        if message.height < self._height:
            self._help(sender)
        has_accepted = self._acceptor.accepted is not None
        promised, is_whole = self._acceptor.promised, self._can_speak
        # What it has written may be ahead of what it has replayed: whoever lost its record must
        # hear of the higher one.
        height = self._height if self._saved is None else self._saved.height
        told = Tell(message.number, height, has_accepted, promised, is_whole)
        self._send(sender, told)

    def _on_tell(self, sender: NodeId, message: Tell) -> None:
        self._note_told(message)
        self._hear_told(sender, message.height, message.promised)
        self._reads.hear(sender, message)
        if message.height > self._height and message.number:
            self._ask_for_news(sender)

    def _note_told(self, message: Tell) -> None:
        if self._keeps_promises or message.height == self._height:
            self._note(message.promised)

    def _on_read(self, request: RequestId) -> None:
        if not self._can_speak:
            self._emit(Answer(request, f"refused: {self._read_refusal()}"))
        elif not self._try_read_alone(request):
            self._reads.add(request, self._now.steady_ms)

    def _read_refusal(self) -> str:
        if self._me not in self._members:
            return "this node has no vote on this chain; ask one that has"
        if self._syncing or self._saved is not None:
            return "this node is catching up; ask another, or try again soon"
        return "this node has lost its record and only listens; ask another"

    def _try_read_alone(self, request: RequestId) -> bool:
        """For engines: whether this node may answer by itself, and does."""
        return False

    def _try_read(self) -> bool:
        """Asks for the reads that wait, and serves them once a majority has answered."""
        if not self._can_speak:
            for request in self._reads.drop_all():
                self._emit(Answer(request, f"refused: {self._read_refusal()}"))
            return False
        answered = self._reads.answered(self._members)
        if answered is not None:
            height, requests = answered
            self._must_finish(height)
            for request in requests:
                self._emit(ServeRead(request, height))
            return True
        if self._reads.begin():
            self._broadcast(Ask(self._reads.number, self._height))
            return True
        return False

    def _must_finish(self, height: int) -> None:
        """For engines: somebody waits until ``height`` is final."""

    # ------------------------------------------------------------------------------ asking again

    def _set_ask_timer(self) -> None:
        wanted = bool(self._reads.reading or (self._record_lost and not self._syncing))
        if wanted and not self._ask_armed:
            self._emit(SetTimer((ASK_TIMER,), self._timing.resend_ms))
        elif not wanted and self._ask_armed:
            self._emit(CancelTimer((ASK_TIMER,)))
        self._ask_armed = wanted

    def _on_ask_timer(self, key: TimerKey) -> None:
        self._ask_armed = False
        for request in self._reads.expired(self._now.steady_ms):
            self._emit(Answer(request, "refused: no majority answered; are enough nodes up?"))
        if self._reads.reading:
            self._broadcast(Ask(self._reads.number, self._height))
        elif self._record_lost and self._me in self._members and not self._syncing:
            self._broadcast(Ask(0, self._height))

    def _body_of(self, block: BlockId) -> Block | None:
        """The body to send along, where this node has it at hand."""
        for body in (self._built, self._body):
            if body is not None and body.id == block:
                return body
        return None


def check_owner(sender: NodeId, ballot: Ballot) -> None:
    """Raises InvalidMessage where somebody uses another's ballot, or the one below all."""
    if ballot.node != sender or not ballot.round:
        raise InvalidMessage("another-ballot", "a proposer uses its own ballots only")


def _checked(message: Accept) -> Accept:
    """Raises InvalidMessage where the body is not the block that is to be accepted."""
    block = message.block
    if block is not None and (block.id != message.block_id or block.height != message.height):
        raise InvalidMessage("another-block", "the body is not the block that is proposed")
    return message
