"""What a snapshot says of itself: which block's state it is, and why a stranger may believe that.

The state itself comes in chunks (chain.state.chunks), each checked against the state root of one
block here. That block is one of a run of heads; the last of them is shown final by a proof, and so
all before it. The run goes on above the block by the chain's validator lag, because a manifest
names the set of members that the state had ``lag`` blocks before: only with those heads is it
known, from what is final, which sets the blocks after the snapshot must name.

Where nothing ever is final there is no proof: there the whole chain of heads is fetched and its
work (or whatever the engine's weight is) checked, and the snapshot's block must lie on it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final

import msgspec

from chain.block import BlockHead
from chain.codec import Hash, Record, Uint
from chain.errors import InvalidBlock, InvalidProof
from chain.hashing import BlockId
from chain.proof import Proof
from chain.validators import ValidatorSet

FORMAT: Final = 1
HEADS_BELOW: Final = 16
"""Heads kept below the block, at least: what an engine's rules look back upon."""
HEADS_MAX: Final = 2_200
"""Heads in one snapshot: twice the greatest lag, and some that waited for a proof."""
SETS_MAX: Final = 2_200
LINKS_MAX: Final = 1_000
"""Changes of the validator set that lead from the one known to the one that proves."""
SNAPSHOT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of an encoded Snapshot (its chunks apart)."""


class SetLink(Record, frozen=True):
    """One change of the validator set, shown by the set before it.

    ``head`` was decided by the old set, as ``proof`` shows, and names ``members`` as the set
    that decides its children.
    """

    head: BlockHead
    proof: Proof
    members: ValidatorSet


class Snapshot(Record, frozen=True):
    """The state after the block at ``height``, described.

    ``heads``: consecutive, lowest first, ``height`` among them. ``sets``: those that heads name.
    ``proof``: shows the last head final; None where nothing is. ``links``: from genesis on.
    ``weight``: of the branch up to the block, big-endian, as its maker counts it.
    """

    format: Uint
    chain_id: Hash
    height: Uint
    heads: Annotated[tuple[BlockHead, ...], msgspec.Meta(min_length=1, max_length=HEADS_MAX)]
    sets: Annotated[tuple[ValidatorSet, ...], msgspec.Meta(max_length=SETS_MAX)]
    proof: Proof | None
    links: Annotated[tuple[SetLink, ...], msgspec.Meta(max_length=LINKS_MAX)]
    weight: Annotated[bytes, msgspec.Meta(max_length=40)]

    @property
    def head(self) -> BlockHead:
        """Of the block whose state this is; see ``check_form``."""
        return self.heads[self.height - self.heads[0].height]

    @property
    def block(self) -> BlockId:
        return self.head.id

    @property
    def root(self) -> bytes:
        return self.head.manifest.state_root

    @property
    def top(self) -> BlockHead:
        """The last head: what the proof is of."""
        return self.heads[-1]

    @property
    def lowest(self) -> int:
        """Height of the lowest head."""
        return self.heads[0].height

    def check_form(self, chain_id: bytes, lag: int) -> None:
        """Raises InvalidProof unless it is whole in itself; whether it is true the proof says.

        Codes: "snapshot-format", "snapshot-foreign", "snapshot-heads", "snapshot-sets".
        """
        if self.format != FORMAT:
            raise InvalidProof(
                "snapshot-format", f"snapshot format {self.format}; this Moot knows {FORMAT}"
            )
        if self.chain_id != chain_id:
            raise InvalidProof("snapshot-foreign", "the snapshot is of another chain")
        self._check_heads(lag)
        known = {members.hash for members in self.sets}
        for head in self.heads:
            if head.height >= self.height and head.manifest.next_validators not in known:
                raise InvalidProof(
                    "snapshot-sets", "a validator set that its heads name is missing"
                )
        for link in self.links:
            if link.members.hash != link.head.manifest.next_validators:
                raise InvalidProof("snapshot-sets", "a change of validators shows another set")

    def _check_heads(self, lag: int) -> None:
        first, last = self.heads[0].height, self.heads[-1].height
        needed = max(1, self.height - max(lag, HEADS_BELOW))
        if not (1 <= first <= needed and self.height + lag - 1 <= last) or self.height < 1:
            raise InvalidProof("snapshot-heads", "heads that the snapshot needs are missing")
        try:
            for head in self.heads:
                head.check_branch()
        except InvalidBlock as error:
            raise InvalidProof("snapshot-heads", error.sentence) from error
        for parent, head in pairwise(self.heads):
            if head.previous != parent.id or head.height != parent.height + 1:
                raise InvalidProof("snapshot-heads", "its heads do not follow on each other")
        if first == 1 and self.heads[0].previous != self.chain_id:
            raise InvalidProof("snapshot-heads", "its heads do not begin at genesis")
