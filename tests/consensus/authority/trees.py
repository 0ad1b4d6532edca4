"""A block tree in memory for tests of the rota, and blocks that keep its rules."""

from __future__ import annotations

from collections.abc import Sequence

from chain import codec
from chain.address import Address, key_address
from chain.block import Block, BlockHead
from chain.genesis import Era
from chain.hashing import ZERO_HASH, BlockId, sha256
from chain.header import VERSION, Header
from chain.manifest import Manifest
from chain.validators import Validator, ValidatorSet, validator_set
from consensus.authority import AuthorityParameters, AuthorityRules, Claims

SLOT_MS = 1_000
PARAMETERS = AuthorityParameters(slot_ms=SLOT_MS, step_in_ms=400)
GENESIS_SLOT = 1_700_000_000
GENESIS_MS = GENESIS_SLOT * SLOT_MS
SEAL = bytes(64)


def signer(number: int) -> Address:
    """Addresses in the order of their numbers, so that signer 0 begins the rota."""
    return key_address(bytes([number]) + sha256(b"signer %d" % number)[1:])


def members(count: int, learners: int = 0) -> ValidatorSet:
    return validator_set(
        Validator(signer(number), int(number < count), f"s{number}")
        for number in range(count + learners)
    )


class Tree:
    """A ChainView over block heads, the naive way: every question walks."""

    def __init__(self, count: int = 3, learners: int = 0) -> None:
        self.rules = AuthorityRules(PARAMETERS)
        self.count = count
        self.set = members(count, learners)
        manifest = Manifest(0, GENESIS_MS, signer(0), ZERO_HASH, ZERO_HASH, b"", 0, bytes(8))
        header = Header(VERSION, ZERO_HASH, manifest.leaf, GENESIS_MS // 1_000, 0, 0)
        self.genesis: BlockId = header.id
        self.heads: dict[BlockId, BlockHead] = {header.id: BlockHead(header, manifest)}
        self.weights = {header.id: 0}
        self.order: dict[BlockId, list[BlockId]] = {header.id: []}
        self.current: BlockId = header.id

    def make(
        self,
        parent: BlockId,
        by: int,
        after: int = 1,
        *,
        into_ms: int = 10,
        slot: int | None = None,
        in_turn: bool | None = None,
        claims: bytes | None = None,
        seal: bytes = SEAL,
        reward: int = 0,
        extra: int = 0,
        producer: Address | None = None,
    ) -> Block:
        """A block of signer ``by``, ``after`` slots after its parent's; wrong where one says so."""
        last = self.heads[parent]
        its_slot = last.time_ms // SLOT_MS + after
        turn = its_slot % self.count == by if in_turn is None else in_turn
        said = codec.encode(Claims(its_slot if slot is None else slot, turn))
        manifest = Manifest(
            last.height + 1,
            its_slot * SLOT_MS + into_ms,
            producer or signer(by),
            ZERO_HASH,
            self.set.hash,
            said if claims is None else claims,
            reward,
            extra.to_bytes(8, "big"),
        )
        header = Header(VERSION, parent, manifest.leaf, manifest.time_ms // 1_000, 0, 0)
        return Block(header, manifest, (), seal)

    def add(self, block: Block) -> Block:
        head = block.head
        if head.id not in self.heads:
            self.weights[head.id] = self.weights[head.previous] + self.rules.weight(head)
            self.heads[head.id] = head
            self.order[head.id] = []
            self.order[head.previous].append(head.id)
        return block

    def grow(self, parent: BlockId, *signers: int, after: int = 1) -> BlockId:
        """One block by each, a slot (or ``after``) apart; their rules are not asked."""
        for by in signers:
            parent = self.add(self.make(parent, by, after)).id
        return parent

    def rota(self, parent: BlockId, blocks: int) -> BlockId:
        """So many blocks in turn, one a slot."""
        for _ in range(blocks):
            slot = self.heads[parent].time_ms // SLOT_MS + 1
            parent = self.grow(parent, slot % self.count)
        return parent

    # ------------------------------------------------------------------------------- ChainView

    def head(self) -> BlockId:
        return self.current

    def finalized(self) -> BlockId:
        return self.genesis

    def knows(self, block: BlockId) -> bool:
        return block in self.heads

    def header(self, block: BlockId) -> BlockHead:
        return self.heads[block]

    def height(self, block: BlockId) -> int:
        return self.heads[block].height

    def weight(self, block: BlockId) -> int:
        return self.weights[block]

    def ancestor(self, block: BlockId, height: int) -> BlockId:
        while self.heads[block].height > height:
            block = self.heads[block].previous
        return block

    def descends(self, block: BlockId, from_: BlockId) -> bool:
        return self.ancestor(block, self.height(from_)) == from_

    def children(self, block: BlockId) -> Sequence[BlockId]:
        return tuple(self.order[block])

    def validators(self, parent: BlockId) -> ValidatorSet:
        return self.set

    def params(self, parent: BlockId) -> Era:
        return Era(0, "authority")
