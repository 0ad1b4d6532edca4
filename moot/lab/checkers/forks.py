"""Fork choice, against an oracle that is as simple as can be.

Where blocks are never final the head is the heaviest branch; of equal ones the first seen, or that
of the smaller id, as the engine states: the oracle adds up every block's own weight and remembers
the best. Elsewhere the head must stand on
the finalized block.
"""

from __future__ import annotations

from chain.hashing import BlockId, show_id
from consensus.contract import BlockImported, Effect, Event, SetHead
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings


class ForkChoice:
    """For one node; its memory of what was seen first dies with the node's."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node = node
        self._findings = findings
        self._weights: dict[BlockId, int] = {}
        self._best: tuple[int, BlockId] | None = None
        self._head: BlockId | None = None
        node.started.append(self._begin)
        node.observe(self._observe, BlockImported, SetHead)

    def _begin(self, node: SimulatedNode) -> None:
        self._best, self._head = None, None

    @judged_honestly
    def _observe(self, thing: Event | Effect) -> None:
        if isinstance(thing, BlockImported) and self._best is not None:
            block = thing.block
            core = self._node.running
            weight = self._weight(block.previous) + core.rules.weight(block)
            self._weights[block.id] = weight
            most, best = self._best
            by_id = core.rules.properties.ties == "smaller-id"
            if weight > most or (by_id and weight == most and block.id < best):
                self._best = (weight, block.id)
        elif isinstance(thing, SetHead):
            self._note_move(thing.block)

    def _note_move(self, block: BlockId) -> None:
        ledger = self._node.running.ledger
        old = ledger.head()
        if ledger.descends(block, old) or ledger.descends(old, block):
            return
        fork = min(ledger.height(old), ledger.height(block))
        while ledger.ancestor(old, fork) != ledger.ancestor(block, fork):
            fork -= 1
        self._findings.exercised["reorganisations"] += 1
        self._findings.deepest("reorganisation_depth_max", ledger.height(old) - fork)

    @judged_honestly
    def look(self) -> None:
        """When the node has done all that it had to do."""
        ledger = self._node.running.ledger
        head = ledger.head()
        if ledger.finalizes:
            if head != self._head and not ledger.descends(head, ledger.finalized()):
                self._violated(f"its head {show_id(head)} left the finalized branch")
            self._head = head
            return
        if self._best is None:  # just started: what it holds now counts as seen first
            self._best = (self._weight(head), head)
        elif head != self._best[1]:
            weight, best = self._best
            self._violated(
                f"follows {show_id(head)} of weight {self._weight(head)}, though it saw "
                f"{show_id(best)} of weight {weight} before"
            )
            self._best = (self._weight(head), head)

    def _weight(self, block: BlockId) -> int:
        """Weights of all blocks down to genesis, added one by one and remembered."""
        core = self._node.running
        missing = []
        while block not in self._weights:
            head = core.ledger.header(block)
            if head.height == 0:
                self._weights[block] = 0
            else:
                missing.append(head)
                block = head.previous
        total = self._weights[block]
        for head in reversed(missing):
            total += core.rules.weight(head)
            self._weights[head.id] = total
        return total

    def _violated(self, what: str) -> None:
        self._findings.violated("fork-choice", f"{self._node.name} {what}", self._node.world.now_ms)
