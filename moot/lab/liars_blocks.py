"""Making bad blocks out of good ones. Each is as right as it can be except for its one fault."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from chain.block import Block
from chain.errors import InvalidBlock, InvalidTransaction
from chain.hashing import ZERO_HASH
from chain.manifest import EXTRA_NONCE_SIZE
from chain.merkle import merkle_root
from consensus.contract import WorkRules
from consensus.pow.rules import PowRules
from moot.node.core import NodeCore

Forge = Callable[[NodeCore, Block, random.Random], Block | None]
"""Makes a bad block out of a good one; None where that one does not lend itself to it."""

FAR_MS = 3 * 3_600_000
"""How far in the future a lying miner dates its blocks: beyond Bitcoin's two hours."""

ROLLED_S = 6_000
"""Within those two hours."""


def twin_of(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """Another block that is just as good."""
    manifest = msgspec.structs.replace(block.manifest, extra_nonce=rng.randbytes(EXTRA_NONCE_SIZE))
    return _closed(core, msgspec.structs.replace(block, manifest=manifest))


def wrong_state(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """Its state root is not what executing it gives."""
    manifest = msgspec.structs.replace(block.manifest, state_root=rng.randbytes(32))
    return _closed(core, msgspec.structs.replace(block, manifest=manifest))


def bad_signature(core: NodeCore, block: Block, rng: random.Random) -> Block | None:
    """One payment in it was not signed by its sender."""
    if not block.transactions:
        return None
    position = rng.randrange(len(block.transactions))
    forged = msgspec.structs.replace(block.transactions[position], witness=(rng.randbytes(64),))
    transactions = (*block.transactions[:position], forged, *block.transactions[position + 1 :])
    return _closed(core, msgspec.structs.replace(block, transactions=transactions))


def replayed(core: NodeCore, block: Block, rng: random.Random) -> Block | None:
    """It pays again what was paid before (the first double spend)."""
    ledger, at = core.ledger, block.previous
    for _ in range(8):
        parent = ledger.block(at)
        if parent is None or parent.height == 0:
            return None
        if parent.transactions:
            again = rng.choice(parent.transactions)
            drawn = msgspec.structs.replace(block, transactions=(*block.transactions, again))
            return executed(core, drawn)
        at = parent.previous
    return None


def double_reward(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """It mints twice what it may."""
    manifest = msgspec.structs.replace(block.manifest, reward=2 * block.manifest.reward)
    return executed(core, msgspec.structs.replace(block, manifest=manifest))


def without_work(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """Its hash is above the target."""
    return _closed(core, twin_of(core, block, rng), wants_work=False)


def easy_target(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """Made under the easiest target there is, not under the one that the chain asks for."""
    parameters = getattr(core.rules, "parameters", None)
    bits = getattr(parameters, "pow_limit_bits", block.header.bits)
    return _closed(core, twin_of(core, block, rng), bits=bits)


def from_the_future(core: NodeCore, block: Block, rng: random.Random) -> Block:
    """Dated three hours ahead."""
    ahead_ms = block.manifest.time_ms + FAR_MS
    manifest = msgspec.structs.replace(block.manifest, time_ms=ahead_ms)
    return _closed(core, msgspec.structs.replace(block, manifest=manifest))


def rolled(core: NodeCore, block: Block, rng: random.Random) -> Block | None:
    """Its header is ahead of its manifest as far as a miner may roll it; or, where the median of
    the last headers has got ahead of the parent, it goes back below that median."""
    if not isinstance(core.rules, PowRules):
        return None
    parent = core.ledger.header(block.previous)
    if core.rules.earliest_time_s(core.ledger, parent.id) <= parent.time_ms // 1_000 + 1:
        return _closed(core, block, ahead_s=ROLLED_S)
    manifest = msgspec.structs.replace(block.manifest, time_ms=parent.time_ms + 1)
    return executed(core, msgspec.structs.replace(block, manifest=manifest))


def duplicated_leaf(block: Block) -> Block | None:
    """Another body under the very same id (CVE-2012-2459); None where the tree is even."""
    if len(block.leaves) < 3 or len(block.leaves) % 2 == 0:
        return None
    return msgspec.structs.replace(
        block, transactions=(*block.transactions, block.transactions[-1])
    )


def executed(core: NodeCore, block: Block) -> Block:
    """The block with the state root that executing it gives, as far as it can be executed."""
    ledger, manifest = core.ledger, block.manifest
    execution = ledger.execution(
        block.previous, time_ms=manifest.time_ms, producer=manifest.producer
    )
    root = ZERO_HASH
    try:
        for transaction in block.transactions:
            execution.apply(transaction)
        draft = _assembled(msgspec.structs.replace(block), block.header.bits)
        root = execution.finish(core.rules.state_changes(draft.head, ledger)).state.root
    except (InvalidTransaction, InvalidBlock):
        pass  # an honest node does not execute it either: any root will do
    changed = msgspec.structs.replace(manifest, state_root=root)
    return _closed(core, msgspec.structs.replace(block, manifest=changed))


def _assembled(block: Block, bits: int, ahead_s: int = 0) -> Block:
    leaves = (block.manifest.leaf, *(transaction.id for transaction in block.transactions))
    header = msgspec.structs.replace(
        block.header,
        merkle_root=merkle_root(leaves),
        time_s=block.manifest.time_ms // 1_000 + ahead_s,
        bits=bits,
    )
    return msgspec.structs.replace(block, header=header)


def _closed(
    core: NodeCore,
    block: Block,
    *,
    bits: int | None = None,
    wants_work: bool = True,
    ahead_s: int = 0,
) -> Block:
    """The header that fits the rest; with its work done, or pointedly not."""
    whole = _assembled(block, block.header.bits if bits is None else bits, ahead_s)
    if not isinstance(core.rules, WorkRules):
        return whole
    target = core.rules.target(whole.header.bits)
    for nonce in range(2**32):
        header = msgspec.structs.replace(whole.header, nonce=nonce)
        if (int.from_bytes(header.id, "little") <= target) == wants_work:
            return msgspec.structs.replace(whole, header=header)
    raise AssertionError("simulated work is easy")
