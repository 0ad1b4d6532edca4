"""The ledger as the sync service sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain.block import Block, BlockHead
from chain.errors import InvalidBlock
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.proof import Proof
from moot.node.eras import EraBook
from moot.node.headview import HeadView
from moot.node.importer import Importer
from p2p import wire

LOCATOR_DENSE = 10
"""Ids listed one by one from the head before the steps begin to double (as in Bitcoin)."""


class ChainForSync:
    """p2p.sync.SyncChain over ledger, rules and importer."""

    def __init__(
        self,
        ledger: Ledger,
        eras: EraBook,
        importer: Importer,
        finalizes: bool,
        wall_ms: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._eras = eras
        self._importer = importer
        self._wall_ms = wall_ms
        self.finalizes = finalizes

    def knows(self, block: BlockId) -> bool:
        return self._ledger.knows(block)

    def head(self) -> BlockId:
        return self._ledger.head()

    def finalized(self) -> BlockId:
        return self._ledger.confirmed()

    def height(self, block: BlockId) -> int:
        return self._ledger.height(block)

    def weight(self, block: BlockId) -> int:
        return self._ledger.weight(block)

    def locator(self) -> tuple[BlockId, ...]:
        """Ids back from the head: dense, then at doubling distances, genesis last."""
        ids: list[BlockId] = []
        height, step = self._ledger.height(self._ledger.head()), 1
        while height > 0 and len(ids) < wire.LOCATOR_MAX - 1:
            found = self._ledger.id_at(height)
            if found is None:
                break  # below the heads that are kept
            ids.append(found)
            if len(ids) >= LOCATOR_DENSE:
                step *= 2
            height -= step
        return (*ids, self._ledger.genesis_block.id)

    def heads_after(
        self, locator: Sequence[BlockId], stop: BlockId, count: int
    ) -> tuple[BlockHead, ...]:
        """Heads of the best chain after the locator's first id that lies on it."""
        start = next((self._ledger.height(i) for i in locator if self._ledger.in_best_chain(i)), 0)
        top = self._ledger.height(self._ledger.head())
        heads: list[BlockHead] = []
        for height in range(start + 1, min(top, start + count) + 1):
            found = self._ledger.id_at(height)
            head = None if found is None else self._ledger.head_of(found)
            if head is None:
                break
            heads.append(head)
            if found == stop:
                break
        return tuple(heads)

    def head_of(self, block: BlockId) -> BlockHead | None:
        return self._ledger.head_of(block)

    def block(self, block: BlockId) -> Block | None:
        return self._ledger.block(block)

    def proof(self, block: BlockId) -> Proof | None:
        return self._ledger.proof(block)

    def unproven(self) -> Sequence[tuple[int, BlockId]]:
        return self._ledger.unproven

    def check_heads(self, heads: Sequence[BlockHead], earlier: Sequence[BlockHead] = ()) -> None:
        """Judges ``heads``, which follow on ``earlier`` (judged before) or on a known block.

        Raises InvalidBlock or NotYet.
        """
        view = HeadView(self._ledger, self._ledger.validator_set)
        for head in earlier:
            view.add(head, self._eras.rules_after(view, head.previous).weight(head))
        wall_ms = self._wall_ms()
        for head in heads:
            if self._importer.known_bad(head.id):
                raise InvalidBlock("known-bad", "this block was refused before")
            if not view.knows(head.previous):
                raise InvalidBlock("heads-not-linked", "heads do not follow from each other")
            rules = self._eras.rules_after(view, head.previous)
            self._importer.check_head(head, view, rules, wall_ms)
            view.add(head, rules.weight(head))
