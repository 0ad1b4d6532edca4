"""A block tree in memory for tests of proof of work, and blocks with real work in them."""

from __future__ import annotations

from collections.abc import Sequence

from chain.block import Block, BlockHead
from chain.genesis import Era
from chain.hashing import ZERO_HASH, BlockId
from chain.header import VERSION, Header
from chain.manifest import Manifest
from chain.validators import ValidatorSet
from consensus.pow import PowParameters, PowRules
from consensus.pow.target import hash_as_number

GENESIS_MS = 1_700_000_000_000
ALICE = b"\0" + b"\xaa" * 32
BOB = b"\0" + b"\xbb" * 32

EASY = PowParameters(
    target_spacing_ms=1_000,
    half_life_ms=60_000,
    initial_bits=0x207F_FFFF,
    pow_limit_bits=0x207F_FFFF,
    maturity=6,
)
"""Two hashes a block: real work that a test can afford."""


def make_block(
    previous: BlockId,
    height: int,
    *,
    time_ms: int,
    bits: int,
    reward: int = 50 * 100_000_000,
    time_s: int | None = None,
    version: int = VERSION,
    producer: bytes = ALICE,
    claims: bytes = b"",
    seal: bytes = b"",
    extra: int = 0,
    grind_to: int | None = None,
) -> Block:
    """A block without transactions; with ``grind_to`` its nonce is searched until it has work."""
    manifest = Manifest(
        height, time_ms, producer, ZERO_HASH, ZERO_HASH, claims, reward, extra.to_bytes(8, "big")
    )
    seconds = time_ms // 1_000 if time_s is None else time_s
    nonce = 0
    while True:
        header = Header(version, previous, manifest.leaf, seconds, bits, nonce)
        if grind_to is None or hash_as_number(header.id) <= grind_to:
            return Block(header, manifest, (), seal)
        nonce += 1


class Tree:
    """A ChainView over block heads, the naive way: every question walks."""

    def __init__(self, rules: PowRules, *, from_height: int = 0) -> None:
        self.rules = rules
        self.era = Era(from_height, "pow")
        genesis = make_block(ZERO_HASH, 0, time_ms=GENESIS_MS, bits=0, reward=0)
        self.genesis = genesis.id
        self.heads: dict[BlockId, BlockHead] = {genesis.id: genesis.head}
        self.weights = {genesis.id: 0}
        self.order: dict[BlockId, list[BlockId]] = {genesis.id: []}
        self.current = genesis.id

    def add(self, block: Block) -> Block:
        head = block.head
        self.weights[head.id] = self.weights[head.previous] + self.rules.weight(head)
        self.heads[head.id] = head
        self.order[head.id] = []
        self.order[head.previous].append(head.id)
        return block

    def child(
        self, parent: BlockId, *, after_s: int = 1, extra: int = 0, **changes: object
    ) -> Block:
        """A valid child of ``parent``, or one that is wrong in what ``changes`` say."""
        last = self.heads[parent]
        fields: dict[str, object] = {
            "time_ms": last.time_ms + after_s * 1_000,
            "reward": self.rules.reward(last.height + 1),
            "extra": extra,
        }
        fields.update(changes)
        if "bits" not in fields:
            fields["bits"] = self.rules.next_bits(self, parent, 0)
        fields.setdefault("grind_to", self.rules.target(int(str(fields["bits"]))))
        return make_block(parent, last.height + 1, **fields)  # type: ignore[arg-type]

    def grow(self, parent: BlockId, count: int, *, after_s: int = 1, extra: int = 0) -> BlockId:
        for _ in range(count):
            parent = self.add(self.child(parent, after_s=after_s, extra=extra)).id
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
        return ValidatorSet()

    def params(self, parent: BlockId) -> Era:
        return self.era
