"""Blocks, and block heads: blocks without their transactions."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

import msgspec

from chain import codec
from chain.codec import Hash
from chain.errors import InvalidBlock
from chain.hashing import BlockId
from chain.header import Header
from chain.manifest import Manifest
from chain.merkle import BRANCH_LENGTH_MAX, root_and_branch, root_from_branch
from chain.transaction import Transaction

SEAL_SIZE_MAX = 4 * 1024
"""Bytes of a seal: a signature with its frame, outside the block id."""
BLOCK_SIZE_MAX = 8 * 1024 * 1024
"""Bytes of one encoded block that any chain may allow; genesis sets the chain's own limit."""

Seal = Annotated[bytes, msgspec.Meta(max_length=SEAL_SIZE_MAX)]


class BlockHead(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True
):
    """Header, manifest, and the Merkle branch that ties the manifest to the header.

    This is all that Rules see, and all that headers-first sync and light clients fetch.
    """

    header: Header
    manifest: Manifest
    branch: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=BRANCH_LENGTH_MAX)] = ()
    seal: Seal = b""

    @property
    def id(self) -> BlockId:
        return self.header.id

    @property
    def previous(self) -> BlockId:
        return self.header.previous

    @property
    def height(self) -> int:
        return self.manifest.height

    @property
    def time_ms(self) -> int:
        return self.manifest.time_ms

    def check_branch(self) -> None:
        """Raises InvalidBlock unless the manifest is leaf 0 under the header's Merkle root."""
        if root_from_branch(self.manifest.leaf, self.branch, 0) != self.header.merkle_root:
            raise InvalidBlock("manifest-not-in-block", "the manifest is not the block's leaf 0")


class Block(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """A whole block. The seal is not part of its id."""

    header: Header
    manifest: Manifest
    transactions: tuple[Transaction, ...] = ()
    seal: Seal = b""

    @property
    def id(self) -> BlockId:
        return self.header.id

    @property
    def previous(self) -> BlockId:
        return self.header.previous

    @property
    def height(self) -> int:
        return self.manifest.height

    @cached_property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)

    @cached_property
    def leaves(self) -> tuple[bytes, ...]:
        """The Merkle tree's leaf hashes: the manifest's, then each transaction's id."""
        return (self.manifest.leaf, *(transaction.id for transaction in self.transactions))

    @cached_property
    def _root_and_branch(self) -> tuple[bytes, tuple[bytes, ...]]:
        return root_and_branch(self.leaves)  # 1,000 hashes for 1,000 transactions: once is enough

    @cached_property
    def head(self) -> BlockHead:
        """The block without its transactions."""
        return BlockHead(self.header, self.manifest, self._root_and_branch[1], self.seal)

    def check_body(self) -> None:
        """Raises InvalidBlock unless manifest and transactions are what the header commits to.

        A duplicated leaf raises "mutated-merkle-tree": such a body must not mark the *id* as bad,
        since an honest block with the same id may exist (CVE-2012-2459).
        """
        if self._root_and_branch[0] != self.header.merkle_root:
            raise InvalidBlock("bad-merkle-root", "the body is not what the header commits to")


def parse_block(raw: bytes, size_max: int = BLOCK_SIZE_MAX) -> Block:
    """The block whose canonical encoding is ``raw``; raises InvalidEncoding."""
    block = codec.decode(raw, Block, size_max)
    block.__dict__["raw"] = raw
    return block
