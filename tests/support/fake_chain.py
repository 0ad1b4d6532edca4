"""A chain for engine tests: cheap keys, blocks and signatures, and a tree behind ChainView."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from chain import codec
from chain.address import Address, key_address
from chain.block import Block, BlockHead
from chain.genesis import Era
from chain.hashing import ZERO_HASH, BlockId
from chain.header import VERSION, Header
from chain.manifest import Manifest
from chain.merkle import merkle_root
from chain.transaction import Transaction, Transfer
from chain.validators import ValidatorSet
from consensus.contract import Attestation, Slot

START_MS = 1_700_000_000_000
CHAIN_ID = hashlib.sha256(b"engine cluster").digest()


def make_address(number: int) -> Address:
    """Addresses in the order of their numbers, so that node 0 is the first member."""
    return key_address(bytes([number]) + hashlib.sha256(b"node %d" % number).digest()[1:])


def make_block(
    parent: BlockHead,
    producer: Address,
    validators: ValidatorSet,
    time_ms: int,
    transactions: Sequence[Transaction] = (),
    claims: bytes = b"",
    extra: int = 0,
) -> Block:
    manifest = Manifest(
        parent.height + 1,
        max(time_ms, parent.time_ms + 1),
        producer,
        ZERO_HASH,
        validators.hash,
        claims,
        0,
        extra.to_bytes(8, "big"),
    )
    leaves = (manifest.leaf, *(transaction.id for transaction in transactions))
    header = Header(VERSION, parent.id, merkle_root(leaves), manifest.time_ms // 1000, 0, 0)
    return Block(header, manifest, tuple(transactions))


def make_genesis_block(validators: ValidatorSet) -> Block:
    manifest = Manifest(
        0, START_MS - 1000, make_address(0), ZERO_HASH, validators.hash, b"", 0, bytes(8)
    )
    header = Header(VERSION, ZERO_HASH, merkle_root((manifest.leaf,)), START_MS // 1000 - 1, 0, 0)
    return Block(header, manifest)


def make_transaction(number: int) -> Transaction:
    """Transactions are only carried here, never executed."""
    return Transaction(make_address(0), number, 0, 0, 0, (Transfer(make_address(1), number + 1),))


class FakeTree:
    """A node's block tree: ChainView over a dict, one validator set for all heights."""

    def __init__(self, genesis: Block, validators: ValidatorSet, engine: str) -> None:
        self._heads: dict[BlockId, BlockHead] = {genesis.id: genesis.head}
        self._children: dict[BlockId, list[BlockId]] = {}
        self.validator_sets: Callable[[int], ValidatorSet] = lambda height: validators
        self._era = Era(0, engine)
        self._head = self._finalized = genesis.id

    def insert(self, head: BlockHead) -> None:
        if head.id not in self._heads:
            self._heads[head.id] = head
            self._children.setdefault(head.previous, []).append(head.id)

    def set_head(self, block: BlockId) -> None:
        assert self.descends(block, self._finalized), "the head must build on the finalized block"
        self._head = block

    def set_finalized(self, block: BlockId) -> None:
        assert self.descends(block, self._finalized), "finality never moves back"
        self._finalized = block
        if not self.descends(self._head, block):
            self._head = block

    def head(self) -> BlockId:
        return self._head

    def finalized(self) -> BlockId:
        return self._finalized

    def knows(self, block: BlockId) -> bool:
        return block in self._heads

    def header(self, block: BlockId) -> BlockHead:
        return self._heads[block]

    def height(self, block: BlockId) -> int:
        return self._heads[block].height

    def weight(self, block: BlockId) -> int:
        return self._heads[block].height

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        while self._heads[block].height > height:
            block = self._heads[block].previous
        return block

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        return self.ancestor(block, self._heads[from_].height) == from_

    def children(self, block: BlockId) -> Sequence[BlockId]:
        return tuple(self._children.get(block, ()))

    def validators(self, parent: BlockId) -> ValidatorSet:
        return self.validator_sets(self._heads[parent].height + 1)

    def params(self, parent: BlockId) -> Era:
        return self._era


def sign(signer: Address, slot: Slot, content: bytes) -> bytes:
    """A cheap stand-in for a signature: nobody in a test forges it by accident."""
    return hashlib.sha512(codec.encode((signer, tuple(slot), content))).digest()


def verifies(attestation: Attestation) -> bool:
    return attestation.signature == sign(attestation.signer, attestation.slot, attestation.content)
