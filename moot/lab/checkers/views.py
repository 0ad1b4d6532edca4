"""What PBFT's replicas owe each other between views, judged by the paper's words alone.

Nothing here asks the engine's judgements: quorums, primaries and the choice of a new view are
worked out again from the messages (Castro and Liskov, OSDI'99, section 4.4).

* Who asked for a view says nothing in a lower one any more.
* A view change shows the certificate of the highest view in which its sender said a commit.
* A new view stands on the view changes of a quorum, each certificate in them is one, and the block
  is that of the highest view among them; where they show none, the primary is free.
"""

from __future__ import annotations

from typing import Final

from chain.address import Address
from chain.hashing import ZERO_HASH
from chain.ledger.disk import RECORD_KEY
from chain.validators import ValidatorSet
from consensus.contract import Broadcast, Effect, Event, Message, Send
from consensus.pbft.messages import (
    Commit,
    NewView,
    Prepare,
    PreparedCertificate,
    PrePrepare,
    ViewChange,
)
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings
from moot.node.gate import check_attestations

CHECKER: Final = "views"
HEIGHTS_KEPT: Final = 64
"""Heights of which one replica's commits are remembered; it speaks of the open one."""


def quorum(n: int) -> int:
    """The least number of which any two share an honest member: more than (n + f) / 2."""
    bearable = (n - 1) // 3
    return (n + bearable) // 2 + 1


class Views:
    """For one replica, over its restarts; who lost the disk may have forgotten what it said."""

    def __init__(self, node: SimulatedNode, findings: Findings, draws_leaders: bool) -> None:
        """``draws_leaders``: the run has each view's primary drawn, in the place of the rota."""
        self._node = node
        self._findings = findings
        self._draws_leaders = draws_leaders
        self._forget()
        node.started.append(self._begin)
        node.observe(self._observe, Broadcast, Send)

    def _forget(self) -> None:
        self._asked_for = 0
        self._committed: dict[int, int] = {}
        """By height: the highest view in which a commit was said."""

    def _begin(self, node: SimulatedNode) -> None:
        if node.store.memory.get(RECORD_KEY) is None:
            self._forget()

    def _observe(self, thing: Event | Effect) -> None:
        if isinstance(thing, Broadcast | Send):
            self._judge(thing.message)

    @judged_honestly
    def _judge(self, message: Message) -> None:
        match message:
            case PrePrepare() | Prepare() | Commit():
                self._vote(message)
            case ViewChange():
                self._view_change(message)
            case NewView():
                with self._node.store.looked_at():
                    self._new_view(message)

    def _vote(self, vote: PrePrepare | Prepare | Commit) -> None:
        if vote.view < self._asked_for:
            self._violated(f"votes in view {vote.view} and has asked for view {self._asked_for}")
        if isinstance(vote, Commit):
            view = max(vote.view, self._committed.get(vote.height, 0))
            self._committed[vote.height] = view
            while len(self._committed) > HEIGHTS_KEPT:
                del self._committed[next(iter(self._committed))]

    def _view_change(self, change: ViewChange) -> None:
        self._asked_for = max(self._asked_for, change.view)
        committed = self._committed.get(change.height)
        shown = -1 if change.prepared is None else change.prepared.view
        if committed is not None and shown < committed:
            self._violated(
                f"hides at height {change.height} what it said a commit for in view {committed}"
            )

    def _new_view(self, opened: NewView) -> None:
        ledger = self._node.running.ledger
        if ledger.height(ledger.finalized()) + 1 != opened.height:
            return  # of a view that was opened before: it was judged then
        members = ledger.validators(ledger.finalized())
        senders = {change.sender for change in opened.view_changes if change.sender in members}
        if len(senders) < quorum(len(members)):
            self._violated(f"opens view {opened.view} on the word of {len(senders)}")
        certificates = [
            change.prepared
            for change in opened.view_changes
            if change.height == opened.height and change.prepared is not None
        ]
        if not all(self._is_sound(one, opened, members) for one in certificates):
            self._violated(f"opens view {opened.view} on a certificate that is none")
        bound = {one.view: one.block_id for one in certificates}
        if len(set(bound.values())) > 1:
            self._findings.exercised["new_views_over_two_blocks"] += 1
        if opened.block_id != (bound[max(bound)] if bound else ZERO_HASH):
            self._violated(
                f"opens view {opened.view} at height {opened.height} with another block than the "
                "highest prepared one that its view changes show"
            )

    def _is_sound(
        self, certificate: PreparedCertificate, opened: NewView, members: ValidatorSet
    ) -> bool:
        """Whether the primary of an older view and enough others have signed one block."""
        primary = certificate.primary
        in_turn = members.voters[certificate.view % len(members)].address
        backups: set[Address] = {one.signer for one in certificate.prepares}
        core = self._node.running
        return (
            certificate.height == opened.height
            and certificate.view < opened.view
            and (primary in members if self._draws_leaders else primary == in_turn)
            and primary not in backups
            and len([one for one in backups if one in members]) + 1 >= quorum(len(members))
            and check_attestations(
                core.ledger.chain_id,
                core.protocol.name,
                certificate.attestations(),
                self._node.verifier,
            )
        )

    def _violated(self, what: str) -> None:
        self._findings.violated(CHECKER, f"{self._node.name} {what}", self._node.world.now_ms)
