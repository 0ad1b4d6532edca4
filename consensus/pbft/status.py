"""What a replica shows to people: facts, a table of votes, and why it waits."""

from __future__ import annotations

from collections.abc import Sequence

from chain.address import Address
from chain.hashing import BlockId
from chain.validators import ValidatorSet, quorum_byzantine
from consensus.pbft.book import Book
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
        for member in members.members
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
    everyone = [member.address for member in members.members]
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
