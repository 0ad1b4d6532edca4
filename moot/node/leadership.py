"""What etcd tells of its leader and its proposals, told of every engine with a leader that stays.

The names are etcd's with the engine's in front, ``moot_raft_has_leader``: dashboards and alarms
that were made for etcd need nothing else changed. A proposal is a block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from chain.hashing import BlockId
from consensus.contract import BlockImported, Effect, Event, NodeId, Persist, SetProducer
from moot.node import feed
from moot.node.feed import News

if TYPE_CHECKING:
    from moot.node.core import NodeCore

PROPOSED_MAX: Final = 1_024
"""Own blocks that are watched at once: several times what any engine leaves undecided."""


class Leadership(Collector):
    """Counts as long as the node lives; what it counts of starts at zero with each start."""

    def __init__(self, core: NodeCore) -> None:
        self._core = core
        self._prefix = f"moot_{re.sub('[^a-z0-9]', '_', core.protocol.name)}"
        self._leader: NodeId | None = None
        self._changes = 0
        self._built: dict[BlockId, int] = {}
        """Own blocks that were not proposed so far, and their heights."""
        self._proposed: dict[BlockId, int] = {}
        """Own blocks that are not decided yet, and their heights."""
        self._failed = 0
        core.driver.observers.append(self._observe)
        core.feed.subscribe(self._hear)

    def _observe(self, happened: Event | Effect) -> None:
        match happened:
            case SetProducer(node=node) if node is not None and node != self._leader:
                self._leader = node
                self._changes += 1
            case BlockImported(block=block, origin="own"):
                _keep(self._built, block.id, block.height)
            case Persist(blocks=blocks):
                # Who proposes writes; what was built too late, when another leads, it lets lie.
                for written in blocks:
                    if written in self._built:
                        _keep(self._proposed, written, self._built.pop(written))
            case _:
                pass

    def _hear(self, news: News) -> None:
        """A final block decides on all proposals up to its height: each is on its branch or not."""
        if not isinstance(news, feed.BecameFinal):
            return
        ledger, top = self._core.ledger, news.head.height
        for block in [one for one, height in self._proposed.items() if height <= top]:
            self._failed += ledger.id_at(self._proposed.pop(block)) != block
        for block in [one for one, height in self._built.items() if height <= top]:
            del self._built[block]

    def collect(self) -> Iterable[Metric]:
        core = self._core
        leader = core.engine_status().leader
        final = core.ledger.height(core.ledger.finalized())
        for name, text, value in (
            ("has_leader", "1 while this node knows of a leader.", leader is not None),
            ("is_leader", "1 while this node leads.", leader == core.me),
            ("proposals_committed", "Height of the last block known here to be decided.", final),
            (
                "proposals_applied",
                "Height up to which what is decided took effect here. Blocks are executed before "
                "they are decided, so that it never lags.",
                final,
            ),
            ("proposals_pending", "Own blocks that are not decided yet.", len(self._proposed)),
        ):
            yield GaugeMetricFamily(f"{self._prefix}_{name}", text, value=value)
        for name, text, count in (
            ("leader_changes", "Leaders that this node has seen come.", self._changes),
            ("proposals_failed", "Own blocks in whose place others were decided.", self._failed),
        ):
            yield CounterMetricFamily(f"{self._prefix}_{name}", text, value=count)


def _keep(blocks: dict[BlockId, int], block: BlockId, height: int) -> None:
    blocks[block] = height
    while len(blocks) > PROPOSED_MAX:
        del blocks[next(iter(blocks))]
