"""What a replica does with a message: judge it, keep it, help its sender. Nothing is decided here.

A bad message changes nothing (contract, law 4): every check stands before the first change. The
sender is the member whose signature the message carries, never a field that is not signed.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from chain.errors import InvalidMessage, InvalidProof
from chain.validators import faults_byzantine
from consensus.contract import Message, NodeId, Report, Send, Trace
from consensus.pbft.book import HEIGHTS_AHEAD
from consensus.pbft.certificates import check_commit_certificate, primary_of
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Decided,
    NewView,
    Prepare,
    PrePrepare,
    ReadQuery,
    ReadReply,
    ViewChange,
    Vote,
)
from consensus.pbft.record import Proposal
from consensus.pbft.replica import Replica
from consensus.pbft.view_change import check_new_view, check_view_change

HEIGHTS_IN_FLIGHT: Final = 1
"""One height is open at a time."""


class Inbox(Replica):
    """Receives messages into the book, the view changes, and the pending certificate."""

    def _on_message(self, peer: NodeId, message: Message) -> None:
        """Checks before it changes anything (law 4); the rules act on what was kept."""
        try:
            match message:
                case PrePrepare() | Prepare() | Commit():
                    if self._is_member(message):
                        self._on_vote(peer, message)
                case ViewChange():
                    if self._is_member(message):
                        self._on_view_change(message)
                case NewView():
                    if self._is_member(message):
                        self._on_new_view(peer, message)
                case Decided():
                    self._on_decided(peer, message.certificate)
                case ReadQuery():
                    if self._can_speak:
                        self._emit(Send(peer, ReadReply(message.number, self._height_spoken)))
                case ReadReply():
                    self._reads.replied(peer, message)
                case _:
                    raise AssertionError(f"the gate let a {type(message).__name__} through")
        except InvalidMessage as fault:
            self._emit(Report(peer=peer, reason=fault.code))

    def _is_member(self, message: Vote | ViewChange | NewView) -> bool:
        """Whether its sender is a validator of the open height.

        Raises InvalidMessage for a stranger that speaks of this very height. At another height
        another set may be entitled: such a message is passed over, and sync will tell.
        """
        if message.sender in self._members:
            return True
        if message.height == self._record.height:
            raise InvalidMessage("not-a-member", "the sender is no validator")
        return False

    def _on_vote(self, peer: NodeId, vote: Vote) -> None:
        height, view = self._round
        is_primary = vote.sender == primary_of(self._members, vote.view)
        if is_primary != isinstance(vote, PrePrepare) and not isinstance(vote, Commit):
            # Section 4.2: the primary proposes, the backups prepare; all commit.
            if vote.height == height:
                raise InvalidMessage("wrong-role", "the primary proposes, and backups prepare")
            return
        if isinstance(vote, PrePrepare):
            vote = self._check_body(peer, vote)
        self._hear(vote.sender, vote.height)
        if vote.height < height or (vote.height == height and vote.view < view):
            self._help(vote.sender, vote.height, vote.view)
        if vote.height > height + HEIGHTS_AHEAD and isinstance(vote, Commit):
            self._fetch(vote.block_id, peer)
        evidence = self._book.add(vote, height, view)
        if evidence is not None:
            assert vote.sender != self._me, "two statements of our own key contradict each other"
            self._emit(Report(evidence=evidence))

    def _hear(self, member: NodeId, height: int) -> None:
        self._heard_ms[member] = self._now.steady_ms
        if self._listening:
            self._heard_at[member] = max(height, self._heard_at.get(member, 0))
            self._begin_listening()

    def _begin_listening(self) -> None:
        """A lost record: silent until a height is final that it cannot have spoken at.

        How high that is, is for the others to say; the own chain may be of any age, and one that
        has no link yet does not look behind. Whoever voted at h had seen h - 1 decided, and of the
        quorum that decided it at least f others are among any n - 1 - f that are heard: one of
        them honest, since the loss makes this node one of the f. So nobody's h lies above the
        highest height heard by more than 1. And what it said at h may be quoted in a new view at
        h + 1 (consensus.pbft.view_change), so it stays silent there too.
        """
        if not self._listening or self._syncing or self._listen_until is not None:
            return
        heard = [at for member, at in self._heard_at.items() if member in self._members]
        others = len(self._members) - (self._me in self._members)
        if len(heard) >= others - faults_byzantine(len(self._members)):
            self._listen_until = max(self._record.height, *heard, 0) + 1 + HEIGHTS_IN_FLIGHT

    def _check_body(self, peer: NodeId, vote: PrePrepare) -> PrePrepare:
        """The proposal, its body judged; a relayed body is not the primary's word."""
        block = vote.block
        if block is None:
            return vote
        if peer != vote.sender:
            return replace(vote, block=None)
        if block.id != vote.block_id or block.height != vote.height:
            raise InvalidMessage("another-block", "the body is not the block that is proposed")
        return vote

    def _on_view_change(self, change: ViewChange) -> None:
        height, view = self._round
        if change.view == 0:
            raise InvalidMessage("view-zero", "nobody changes to the first view")
        if change.height == height:
            check_view_change(change, self._members, self._final)
        self._hear(change.sender, change.height)
        if change.height < height or change.view <= view:
            self._help(change.sender, change.height, change.view)
        known = self._view_changes.get(change.sender)
        if known is None or (known.view, known.height) < (change.view, change.height):
            self._view_changes[change.sender] = change

    def _on_new_view(self, peer: NodeId, message: NewView) -> None:
        record = self._record
        if peer != message.sender and message.block is not None:
            message = replace(message, block=None)  # a relayed body is not the primary's word
        if message.view < record.view or (message.view == record.view and record.active):
            return
        if message.height <= record.height:
            self._enter(message)
            return
        # It is ahead: its parent must become final here first. It is judged then; until then one
        # is kept, if it could be right by the present set and its height can come soon.
        plausible = message.sender == primary_of(self._members, message.view)
        if not plausible or message.height > record.height + HEIGHTS_AHEAD:
            if message.decided is not None:
                self._on_decided(peer, message.decided)
            return
        early = self._early_new_view
        if early is None or (early.view, early.height) < (message.view, message.height):
            self._early_new_view = message
        if message.decided is not None:
            self._on_decided(peer, message.decided)

    def _on_decided(self, peer: NodeId, certificate: CommitCertificate) -> None:
        if certificate.height < self._record.height:
            return
        try:
            check_commit_certificate(certificate, self._members)
        except InvalidProof as error:
            if certificate.height == self._record.height:
                raise InvalidMessage(f"decided-{error.code}", error.sentence) from None
            # Another set may decide that height; sync will know when the headers are here.
            self._fetch(certificate.block_id, peer)
            return
        self._learn(certificate)
        if not self._view.knows(certificate.block_id):
            self._fetch(certificate.block_id, peer)

    def _learn(self, certificate: CommitCertificate) -> None:
        if certificate.height < self._record.height or self._conflict:
            return
        if self._pending is None or self._pending.height < certificate.height:
            self._pending = certificate

    def _enter(self, message: NewView) -> None:
        """Opens the view that a valid new-view names. Raises InvalidMessage (section 4.4)."""
        height = message.height
        parent = self._view.ancestor(self._final, max(height - 1, 0))
        check_new_view(message, self._view.validators(parent), parent)
        proposal = None
        if height == self._record.height and not message.is_free:
            proposal = Proposal(message.view, message.block_id, message.sender, message.pre_prepare)
            if message.block is not None:
                self._body = message.block
        self._hear(message.sender, message.height)
        self._replace(view=message.view, active=True, proposal=proposal)
        self._new_view = message
        self._forget_round()
        self._emit(Trace("view-entered", {"height": self._record.height, "view": message.view}))

    def _forget_round(self) -> None:
        self._importing = self._vetted = self._refused = None
        self._building = self._built = None
        self._settled_ms = self._now.steady_ms
        self._book.forget_views_around(*self._round)
