"""Agreement: one chain of finalized blocks, for all honest nodes and for all time."""

from __future__ import annotations

from collections.abc import Callable

from chain.block import Block
from chain.hashing import BlockId, show_id
from chain.proof import Proof
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings


class Agreement:
    """What any honest node ever called final, by height; nothing of it is ever taken back.

    The list outlives the nodes' crashes. ``decided`` hears of each height once, in order, with the
    block and the proof that the node holds; ``proven`` of each other node's proof of it.
    """

    def __init__(
        self,
        findings: Findings,
        decided: Callable[[Block, Proof | None, int], None],
        proven: Callable[[BlockId, Proof, str, int], None] = lambda block, proof, name, at_ms: None,
    ) -> None:
        self.final: list[BlockId] = []
        """From height 1 on."""
        self._findings = findings
        self._decided = decided
        self._proven = proven
        self._seen: dict[bytes, BlockId] = {}
        self._heights: dict[bytes, int] = {}

    def look(self, node: SimulatedNode) -> None:
        """After a node has done something."""
        ledger = node.running.ledger
        block = ledger.finalized()
        if not ledger.finalizes or self._seen.get(node.key) == block:
            return
        height = ledger.height(block)
        start = min(self._heights.get(node.key, 0), height - 1)
        self._seen[node.key], self._heights[node.key] = block, height
        for at in range(max(1, start), height + 1):
            found = ledger.id_at(at)
            if found is None and at < ledger.heads_from:
                continue  # it began from a snapshot
            assert found is not None, "the head's branch has no gaps"
            self._compare(node, at, found)

    def _compare(self, node: SimulatedNode, height: int, found: BlockId) -> None:
        if height > len(self.final):
            self.final.append(found)
            body = node.running.ledger.block(found)
            assert body is not None
            self._decided(body, node.running.ledger.proof(found), node.world.now_ms)
        elif self.final[height - 1] != found:
            self._findings.violated(
                "agreement",
                f"{node.name} finalized {show_id(found)} at height {height}, where "
                f"{show_id(self.final[height - 1])} was final",
                node.world.now_ms,
            )
        else:
            proof = node.running.ledger.proof(found)
            if proof is not None:
                self._proven(found, proof, node.name, node.world.now_ms)

    def look_at_all(self, node: SimulatedNode) -> None:
        """At the end: every height of a node's finalized chain."""
        ledger = node.running.ledger
        if ledger.finalizes:
            for height in range(1, ledger.height(ledger.finalized()) + 1):
                found = ledger.id_at(height)
                if found is None and height < ledger.heads_from:
                    continue
                assert found is not None
                self._compare(node, height, found)
