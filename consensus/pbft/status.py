"""What a replica shows to people: facts, a table of votes, and why it waits."""

from __future__ import annotations

from collections.abc import Sequence

from chain.address import Address
from chain.hashing import BlockId, show_id
from chain.validators import ValidatorSet, quorum_byzantine
from chain.view import ChainView
from consensus.contract import NodeId, Now, Status
from consensus.pbft.book import Book
from consensus.pbft.inbox import Inbox
from consensus.pbft.messages import COMMIT, PRE_PREPARE, PREPARE, ViewChange
from consensus.pbft.record import PbftRecord, Proposal


def name_of(members: ValidatorSet, address: Address) -> str:
    """A member's name, or the first digits of its key."""
    member = members.by_address.get(address)
    return member.name if member is not None and member.name else address[1:5].hex()


def names(members: ValidatorSet, addresses: Sequence[Address]) -> str:
    return ", ".join(name_of(members, address) for address in addresses)


def phase_of(record: PbftRecord, proposal: Proposal | None, ready: bool) -> str:
    """Where the open round stands, in the paper's words."""
    if not record.active:
        return "view-change"
    if proposal is None:
        return "waiting for a pre-prepare"
    if record.prepared is not None and record.prepared.view == record.view:
        return "prepared"
    return "pre-prepared" if ready else "fetching or checking the block"


def vote_rows(
    members: ValidatorSet,
    book: Book,
    view_changes: dict[Address, ViewChange],
    record: PbftRecord,
) -> tuple[dict[str, int | str], ...]:
    """For each validator which statements of the current round have come."""
    height, view = record.height, record.view
    return tuple(
        {
            "validator": name_of(members, member.address),
            **{
                kind: "yes" if book.has_voted(height, kind, view, member.address) else "-"
                for kind in (PRE_PREPARE, PREPARE, COMMIT)
            },
            "view-change": (
                view_changes[member.address].view if member.address in view_changes else "-"
            ),
        }
        for member in members.voters
    )


def missing_members(
    members: ValidatorSet,
    book: Book,
    view_changes: dict[Address, ViewChange],
    record: PbftRecord,
    proposal: Proposal | None,
    primary: Address,
) -> tuple[str, int, int, tuple[Address, ...]]:
    """What is counted now: its name, how many came, how many are needed, who is missing."""
    everyone = [member.address for member in members.voters]
    quorum = quorum_byzantine(len(members))
    height, view = record.height, record.view
    if not record.active:
        asked = [a for a in everyone if a in view_changes and view_changes[a].view >= view]
        return "view changes", len(asked), quorum, _without(everyone, asked)
    if proposal is None:
        return "pre-prepares", 0, 1, (primary,)
    block: BlockId = proposal.block_id
    if record.prepared is None or record.prepared.view != view:
        backups = [address for address in everyone if address != primary]
        voted = [a for a in book.voters(height, PREPARE, view, block) if a in backups]
        return "prepares", len(voted), quorum - 1, _without(backups, voted)
    voted = book.voters(height, COMMIT, view, block)
    return "commits", len(voted), quorum, _without(everyone, voted)


def _without(all_of: Sequence[Address], some: Sequence[Address]) -> tuple[Address, ...]:
    return tuple(address for address in all_of if address not in some)


class Spokesman(Inbox):
    """Explains the replica to people. Code never reads this."""

    def status(self, view: ChainView, now: Now) -> Status:
        """For people: where the round stands, who voted, and why it waits."""
        record, members = self._record, self._members
        if not len(members):
            return Status(facts={"height": record.height, "phase": "no validators"})
        proposal, primary = self._proposal, self._primary
        what, have, need, missing = missing_members(
            members, self._book, self._view_changes, record, proposal, primary
        )
        is_waiting = self._view_timer is not None or not record.active
        facts: dict[str, int | str] = {
            "height": record.height,
            "view": record.view,
            "phase": phase_of(record, proposal, self._is_ready()),
            "primary": name_of(members, primary),
            "role": self._role(),
            "validators": len(members),
            "quorum": self._quorum,
            "proposal": "-" if proposal is None else show_id(proposal.block_id),
            "prepared view": "-" if record.prepared is None else record.prepared.view,
            what: f"{have} of {need}",
            "failed views in a row": self._failed_views,
            "view timeout (ms)": self._parameters.timeout_ms(self._failed_views),
            "transactions waiting": self._waiting,
        }
        if self._view_timer is not None:
            facts["view ends in (ms)"] = max(0, self._view_timer.at_ms - now.steady_ms)
        counted = f"Height {record.height}, view {record.view}: {have} of {need} needed {what}"
        why = (
            *self._silence(),
            *(
                (f"{counted}; missing: {names(members, missing)}.",)
                if is_waiting and have < need
                else ()
            ),
        )
        return Status(
            facts=facts,
            tables={"votes": vote_rows(members, self._book, self._view_changes, record)},
            why=why + self._advice(now, is_waiting and have < need, missing),
            leader=primary,
            round=record.view,
            missing=self._silent(now, missing) if is_waiting else (),
            listening=self._listening and self._me in members,
        )

    def _role(self) -> str:
        if self._me not in self._members:
            return "observer"
        return "primary" if self._primary == self._me else "backup"

    def _silence(self) -> tuple[str, ...]:
        """Why this node itself says nothing."""
        if self._conflict:
            return (
                "Two certified blocks contradict each other: more than f validators lied. "
                "Stop this node and compare the chains of several operators.",
            )
        if self._me not in self._members:
            return ()  # an observer: its role says so, and it waits for nothing
        if self._syncing:
            return ("This node is catching up and does not vote until it has.",)
        if self._listening:
            until = (
                "it has heard enough of the other validators"
                if self._listen_until is None
                else f"height {self._listen_until} is final"
            )
            return (
                f"The record of this node's votes was lost: it listens until {until}. "
                "If every validator lost its record, restore one from a backup.",
            )
        if self._saved is not None:
            return ("This node re-executes stored blocks before it votes again.",)
        return ()

    def _silent(self, now: Now, missing: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
        """Those of ``missing`` that have not been heard for a whole view timeout."""
        since_ms = now.steady_ms - self._parameters.view_timeout_ms
        return tuple(
            member
            for member in missing
            if member != self._me and self._heard_ms.get(member, self._settled_ms) <= since_ms
        )

    def _advice(self, now: Now, is_waiting: bool, missing: tuple[NodeId, ...]) -> tuple[str, ...]:
        if not is_waiting:
            return ()
        if self._view_timer is None and not self._waiting:
            # The others had no reason to leave the view, and go on without this node's votes.
            return (
                "This node asked for another view alone. It follows the chain, and votes again "
                "when the others change the view.",
            )
        silent = self._silent(now, missing)
        if not silent:
            return ()
        seconds = self._parameters.view_timeout_ms / 1000
        who = names(self._members, silent)
        return (
            f"Nothing heard for {seconds:g} s from: {who}. Check that they run and that "
            "their links are up.",
        )
