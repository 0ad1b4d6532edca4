"""What a replica does with a message: judge it, keep it, help its sender. Nothing is decided here.

A bad message changes nothing (contract, law 4): every check stands before the first change. The
sender is the member whose signature the message carries, never a field that is not signed.
"""

from __future__ import annotations

from msgspec.structs import replace

from chain.errors import InvalidMessage, InvalidProof
from consensus.contract import Message, NodeId, Report, Trace
from consensus.pbft.book import HEIGHTS_AHEAD
from consensus.pbft.certificates import check_commit_certificate, primary_of
from consensus.pbft.messages import (
    Commit,
    CommitCertificate,
    Decided,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
    Vote,
)
from consensus.pbft.record import Proposal
from consensus.pbft.replica import Replica
from consensus.pbft.view_change import check_new_view, check_view_change


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
        self._heard_ms[vote.sender] = self._now.steady_ms
        if vote.height < height or (vote.height == height and vote.view < view):
            self._help(vote.sender, vote.height, vote.view)
        if vote.height > height + HEIGHTS_AHEAD and isinstance(vote, Commit):
            self._fetch(vote.block_id, peer)
        evidence = self._book.add(vote, height, view)
        if evidence is not None:
            assert vote.sender != self._me, "two statements of our own key contradict each other"
            self._emit(Report(evidence=evidence))

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
        self._heard_ms[change.sender] = self._now.steady_ms
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
        self._heard_ms[message.sender] = self._now.steady_ms
        self._replace(view=message.view, active=True, proposal=proposal)
        self._new_view = message
        self._forget_round()
        self._emit(Trace("view-entered", {"height": self._record.height, "view": message.view}))

    def _forget_round(self) -> None:
        self._importing = self._vetted = self._refused = None
        self._building = self._built = None
        self._settled_ms = self._now.steady_ms
        self._book.forget_views_around(*self._round)
