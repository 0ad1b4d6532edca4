"""Time: no honest node takes in a block that is further ahead of its clock than the rules allow."""

from __future__ import annotations

from consensus.contract import BlockImported, Effect, Event
from moot.lab.node import SimulatedNode
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings


class Clock:
    """For one node. A block that it had before a restart may be ahead of a clock set back since."""

    def __init__(self, node: SimulatedNode, findings: Findings) -> None:
        self._node = node
        self._findings = findings
        node.observe(self._observe, BlockImported)

    @judged_honestly
    def _observe(self, thing: Event | Effect) -> None:
        if not isinstance(thing, BlockImported) or thing.origin == "replay":
            return
        ahead_ms = self._node.running.rules.earliest_ms(thing.block) - self._node.clock().wall_ms
        if ahead_ms > 0:
            self._findings.violated(
                "clock",
                f"{self._node.name} took in height {thing.block.height} {ahead_ms} ms too early",
                self._node.world.now_ms,
            )
