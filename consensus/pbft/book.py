"""The book of votes: who said what, for the open height and the next few.

Messages that come early are kept and read when their time comes (section 4.2's window h..H); so
nothing is ever replayed. One statement is kept for each member and slot: a second, different one
changes nothing here and is evidence.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chain import codec
from chain.address import Address
from chain.hashing import BlockId
from chain.proof import Evidence
from chain.validators import ValidatorSet, quorum_byzantine
from consensus.pbft.messages import (
    COMMIT,
    NAME,
    PRE_PREPARE,
    PREPARE,
    CommitCertificate,
    PreparedCertificate,
    PrePrepare,
    SignedBy,
    Vote,
    VoteKind,
    vote_kind,
)
from consensus.pbft.record import Proposal

HEIGHTS_AHEAD: Final = 2
"""Early heights kept: a peer that got the last commit first is one ahead; one more for luck."""
VIEWS_AROUND: Final = 8
"""Views kept on either side of the own one: three failed views cost seven timeouts already."""
BODY_VIEWS_AHEAD: Final = 1
"""Bodies are kept for the next view's early proposal only: one may be megabytes large."""

_Place = tuple[VoteKind, int]
_Key = tuple[int, VoteKind, int, Address]


class Book:
    """At most 3 kinds x 3 heights x 17 views statements for each member, without bodies."""

    def __init__(self) -> None:
        self._heights: dict[int, dict[_Place, dict[Address, Vote]]] = {}
        self._contradicted: set[_Key] = set()

    def add(self, vote: Vote, height: int, view: int) -> Evidence | None:
        """Keeps a member's statement; ``height`` and ``view`` are the reader's own.

        Evidence is returned once for each slot that its sender contradicts.
        """
        if not height <= vote.height <= height + HEIGHTS_AHEAD:
            return None
        if abs(vote.view - view) > VIEWS_AROUND:
            return None
        kind = vote_kind(vote)
        place = self._heights.setdefault(vote.height, {}).setdefault((kind, vote.view), {})
        known = place.get(vote.sender)
        if known is None or _brings_body(known, vote):
            place[vote.sender] = _without_far_body(vote, height, view)
        if known is None or known.block_id == vote.block_id:
            return None
        place[vote.sender] = known
        key = (vote.height, kind, vote.view, vote.sender)
        if key in self._contradicted:
            return None
        self._contradicted.add(key)
        return Evidence(NAME, _side(known), _side(vote))

    def pre_prepare(self, height: int, view: int, primary: Address) -> PrePrepare | None:
        """What the primary proposed, if anything has come."""
        vote = self._at(height, PRE_PREPARE, view).get(primary)
        assert vote is None or isinstance(vote, PrePrepare)
        return vote

    def voters(self, height: int, kind: VoteKind, view: int, block: BlockId) -> list[Address]:
        """Who voted for ``block`` there, in address order."""
        votes = self._at(height, kind, view)
        return sorted(sender for sender, vote in votes.items() if vote.block_id == block)

    def has_voted(self, height: int, kind: VoteKind, view: int, member: Address) -> bool:
        return member in self._at(height, kind, view)

    def prepared(
        self, height: int, proposal: Proposal, members: ValidatorSet
    ) -> PreparedCertificate | None:
        """Pre-prepare and quorum - 1 prepares of *other* replicas (section 4.2), if all came."""
        view, block, primary = proposal.view, proposal.block_id, proposal.primary
        prepares = self._signatures(PREPARE, height, view, block, members, without=primary)
        if len(prepares) < quorum_byzantine(len(members)) - 1:
            return None
        return PreparedCertificate(view, height, block, primary, proposal.signature, prepares)

    def committed(self, height: int, members: ValidatorSet) -> CommitCertificate | None:
        """A quorum of commits for one block in one view at ``height``, whichever view it is.

        A certificate of an older view proves finality as well as one of ours.
        """
        places, quorum = self._heights.get(height, {}), quorum_byzantine(len(members))
        for view in sorted(view for kind, view in places if kind == COMMIT):
            for block in sorted({vote.block_id for vote in places[COMMIT, view].values()}):
                if len(self.voters(height, COMMIT, view, block)) < quorum:
                    continue
                commits = self._signatures(COMMIT, height, view, block, members)
                if len(commits) >= quorum:
                    return CommitCertificate(view, height, block, commits)
        return None

    def forget_below(self, height: int) -> None:
        """Drops what was said of heights that are final."""
        self._heights = {at: votes for at, votes in self._heights.items() if at >= height}
        self._contradicted = {key for key in self._contradicted if key[0] >= height}

    def forget_views_around(self, height: int, view: int) -> None:
        """Drops the open height's views that are too far from the own one by now."""
        places = self._heights.get(height, {})
        for place in [place for place in places if abs(place[1] - view) > VIEWS_AROUND]:
            del places[place]

    def _at(self, height: int, kind: VoteKind, view: int) -> dict[Address, Vote]:
        return self._heights.get(height, {}).get((kind, view), {})

    def _signatures(
        self,
        kind: VoteKind,
        height: int,
        view: int,
        block: BlockId,
        members: ValidatorSet,
        without: Address | None = None,
    ) -> tuple[SignedBy, ...]:
        votes = self._at(height, kind, view)
        return tuple(
            SignedBy(sender, votes[sender].signature)
            for sender in self.voters(height, kind, view, block)
            if sender in members and sender != without
        )


def _brings_body(known: Vote, vote: Vote) -> bool:
    return (
        isinstance(known, PrePrepare)
        and isinstance(vote, PrePrepare)
        and known.block_id == vote.block_id
        and known.block is None
    )


def _without_far_body(vote: Vote, height: int, view: int) -> Vote:
    if not isinstance(vote, PrePrepare) or vote.block is None:
        return vote
    near = vote.height <= height + 1 and view <= vote.view <= view + BODY_VIEWS_AHEAD
    return vote if near else msgspec.structs.replace(vote, block=None)


def _side(vote: Vote) -> bytes:
    """One side of an evidence: the signed message; a proposal without its body."""
    if isinstance(vote, PrePrepare):
        vote = msgspec.structs.replace(vote, block=None)
    return codec.encode(vote)
