"""View changes: pure judgements (section 4.4).

One height is open at a time and views persist over heights, so a view change speaks of one height:
the sender's. Why a new view may gather view changes of its own height h and of h - 1 only:

* A replica that said "view change to v" at any height prepares nothing in a lower view later. So
  if a block was committed at h in a view below v, every honest replica of that quorum either
  shows its prepared certificate in a view change *at* h, or had said so before it reached h, and
  then did not prepare: the quorums' common honest member settles it.
* Older ones are left out, so that a replica which lost its record, and forgot what it once said,
  cannot be quoted with it after its time of listening.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from chain.address import Address
from chain.errors import InvalidMessage, InvalidProof
from chain.hashing import ZERO_HASH, BlockId
from chain.validators import ValidatorSet, faults_byzantine, quorum_byzantine
from consensus.pbft.certificates import check_prepared_certificate, primary_of
from consensus.pbft.messages import NewView, ViewChange


def choice(view_changes: Iterable[ViewChange], height: int) -> BlockId:
    """The paper's O for one height: the prepared block of the highest view, else 32 zeros."""
    prepared = [
        change.prepared
        for change in view_changes
        if change.height == height and change.prepared is not None
    ]
    # Equal views name equal blocks: two prepared certificates of one view share an honest member.
    return max(prepared, key=lambda one: one.view).block_id if prepared else ZERO_HASH


def check_view_change(change: ViewChange, members: ValidatorSet, parent: BlockId) -> None:
    """Judges a view change by the members of its height and the final block below it.

    Raises InvalidMessage. The signatures are already checked.
    """
    if change.parent != parent:
        raise InvalidMessage("wrong-parent", "the view change builds on another final block")
    prepared = change.prepared
    if prepared is None:
        return
    if prepared.height != change.height or prepared.view >= change.view:
        raise InvalidMessage("wrong-prepared", "the prepared certificate is not of an older view")
    try:
        check_prepared_certificate(prepared, members)
    except InvalidProof as error:
        raise InvalidMessage(f"prepared-{error.code}", error.sentence) from None


def check_new_view(message: NewView, members: ValidatorSet, parent: BlockId) -> None:
    """Recomputes the choice from the view changes (section 4.4). Raises InvalidMessage."""
    if message.sender != primary_of(members, message.view):
        raise InvalidMessage("not-the-primary", "a new view is its primary's to open")
    senders = [change.sender for change in message.view_changes]
    if any(left >= right for left, right in itertools.pairwise(senders)):
        raise InvalidMessage("view-changes-not-sorted", "each sender once, in address order")
    if any(sender not in members for sender in senders):
        raise InvalidMessage("not-a-member", "a view change is not of a validator")
    if len(senders) < quorum_byzantine(len(members)):
        raise InvalidMessage("no-quorum", "too few view changes for a new view")
    for change in message.view_changes:
        if change.view != message.view or not is_quotable(change, message.height):
            raise InvalidMessage("foreign-view-change", "a view change of another view or height")
        if change.height == message.height:
            check_view_change(change, members, parent)
    if message.block_id != choice(message.view_changes, message.height):
        raise InvalidMessage("wrong-choice", "the new view's block is not what follows from it")
    block = message.block
    if block is not None and (block.id != message.block_id or block.height != message.height):
        raise InvalidMessage("another-block", "the body is not the block that is proposed")


def is_quotable(change: ViewChange, height: int) -> bool:
    """Whether a new view at ``height`` may gather it (see above)."""
    return height - 1 <= change.height <= height


def view_to_join(
    view_changes: Mapping[Address, ViewChange], members: ValidatorSet, me: Address, view: int
) -> int | None:
    """The smallest view above ``view`` asked for, once f + 1 others ask for higher ones.

    One of them is honest then (section 4.5.2). None: too few.
    """
    asked = [
        change.view
        for sender, change in view_changes.items()
        if sender != me and sender in members and change.view > view
    ]
    return min(asked) if len(asked) > faults_byzantine(len(members)) else None
