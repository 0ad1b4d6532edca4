"""The builder: answers an engine's Build, as soon as something can be included."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from chain.address import Address
from chain.block import Block
from chain.changes import StateChange
from chain.hashing import ZERO_HASH, BlockId
from chain.header import VERSION, Header
from chain.ledger import Ledger
from chain.manifest import EXTRA_NONCE_SIZE, Manifest
from chain.mempool import Mempool
from chain.merkle import merkle_root
from chain.transaction import Transaction
from consensus.contract import Build, Now, RequestId, Rules, WorkRules
from moot.node.eras import EraBook

BLOCK_OVERHEAD_BYTES = 1_024
"""Bytes of a block besides its transactions and the claims: header, manifest, seal, frames."""
OPEN_BUILDS_MAX = 16
"""Open Build requests kept for one engine; engines have one or two."""


class Open(msgspec.Struct):
    """A Build that waits for something to include, or for its deadline (steady milliseconds)."""

    effect: Build
    due_ms: int | None


class Builder:
    """Makes blocks on a parent's state from what the mempool offers."""

    def __init__(
        self,
        ledger: Ledger,
        mempool: Mempool,
        eras: EraBook,
        built: Callable[[RequestId, Block | None], None],
        wake_at: Callable[[int], None],
    ) -> None:
        """``built`` gets the answers; ``wake_at`` is asked for a ``wake`` at a steady time."""
        self._ledger = ledger
        self._mempool = mempool
        self._eras = eras
        self._built = built
        self._wake_at = wake_at
        self._open: dict[RequestId, Open] = {}

    @property
    def waiting(self) -> int:
        """Open Build requests."""
        return len(self._open)

    def build(self, effect: Build, producer: Address, now: Now) -> None:
        """Answers at once if it can, else keeps the request open."""
        self._open.pop(effect.request, None)
        if not self._alive(effect.parent):
            return
        due_ms = None if effect.deadline_ms is None else now.steady_ms + effect.deadline_ms
        self._open[effect.request] = Open(effect, due_ms)
        while len(self._open) > OPEN_BUILDS_MAX:
            del self._open[next(iter(self._open))]
        self._try(effect.request, producer, now)
        if effect.request in self._open and due_ms is not None:
            self._wake_at(due_ms)

    def wake(self, producer: Address, now: Now) -> None:
        """Tries again: transactions came, the head moved, or a deadline passed."""
        for request in list(self._open):
            self._try(request, producer, now)
        dues = [o.due_ms for o in self._open.values() if o.due_ms is not None]
        if dues:
            self._wake_at(min(dues))

    def _try(self, request: RequestId, producer: Address, now: Now) -> None:
        waiting = self._open[request]
        effect = waiting.effect
        if not self._alive(effect.parent):
            del self._open[request]
            return
        due = waiting.due_ms is not None and waiting.due_ms <= now.steady_ms
        is_duty = self._ledger.change_pending(effect.parent)
        if not due and not is_duty and self._mempool.waiting() == 0:
            return
        block = self.make(
            effect.parent,
            claims=effect.claims,
            bits=effect.bits,
            reward=effect.reward,
            producer=producer,
            wall_ms=now.wall_ms if effect.time_ms is None else effect.time_ms,
        )
        if block.transactions or is_duty or (due and effect.may_be_empty):
            del self._open[request]
            self._built(request, block)
        elif due:
            del self._open[request]
            self._built(request, None)

    def _alive(self, parent: BlockId) -> bool:
        """Whether a child of ``parent`` could still become part of the chain."""
        ledger = self._ledger
        return ledger.knows(parent) and ledger.descends(parent, ledger.finalized())

    def make(
        self,
        parent: BlockId,
        *,
        claims: bytes,
        bits: int,
        reward: int,
        producer: Address,
        wall_ms: int,
        extra_nonce: bytes = bytes(EXTRA_NONCE_SIZE),
    ) -> Block:
        """A block on ``parent``, executed; its work (if any) still to be found."""
        rules = self._eras.rules_after(self._ledger, parent)
        time_ms = max(self._ledger.header(parent).time_ms + 1, wall_ms)
        if isinstance(rules, WorkRules):
            time_ms = max(time_ms, 1000 * rules.earliest_time_s(self._ledger, parent))
        execution = self._ledger.execution(parent, time_ms=time_ms, producer=producer)
        bytes_max = self._ledger.genesis.limits.block_size_max - BLOCK_OVERHEAD_BYTES - len(claims)
        transactions = tuple(self._mempool.select(execution, bytes_max))
        draft = Manifest(
            self._ledger.height(parent) + 1,
            time_ms,
            producer,
            ZERO_HASH,
            self._ledger.next_validators(parent).hash,
            claims,
            reward,
            extra_nonce,
        )
        executed = execution.finish(self._changes(rules, parent, draft, bits))
        manifest = msgspec.structs.replace(draft, state_root=executed.state.root)
        block = assemble(parent, manifest, transactions, bits)
        self._ledger.built(block, executed)
        return block

    def _changes(
        self, rules: Rules, parent: BlockId, draft: Manifest, bits: int
    ) -> tuple[StateChange, ...]:
        """Changes depend on everything in the manifest but the state root, which follows them."""
        head = assemble(parent, draft, (), bits).head
        return rules.state_changes(head, self._ledger)


def assemble(
    parent: BlockId, manifest: Manifest, transactions: tuple[Transaction, ...], bits: int
) -> Block:
    """The block of a manifest and transactions; nonce zero."""
    leaves = (manifest.leaf, *(transaction.id for transaction in transactions))
    header = Header(VERSION, parent, merkle_root(leaves), manifest.time_ms // 1000, bits, 0)
    return Block(header, manifest, transactions)
