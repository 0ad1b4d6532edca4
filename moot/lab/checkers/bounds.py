"""Bounded queues: whatever a node keeps has a limit, and stays within it."""

from __future__ import annotations

from collections.abc import Sized

from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.node.importer import HELD_MAX, ORPHANS_MAX
from p2p.gossip import IN_FLIGHT_MAX, RECENT_MAX, WANTED_MAX
from p2p.sync.bodies import HELD_BYTES_MAX

ENGINE_ENTRIES_MAX = 20_000
"""Entries of any one container of an engine: far above what votes of VALIDATORS_MAX need."""


class Bounds:
    """Looks at every queue of a node now and then."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings

    def look(self, node: SimulatedNode) -> None:
        core = node.running
        gossip, sync = core.gossip.counts(), core.sync.counts()
        limits = core.mempool.limits
        sizes = {
            "orphans": (core.importer.orphans, ORPHANS_MAX),
            "blocks held back": (core.importer.held, HELD_MAX),
            "mempool bytes": (core.mempool.size_bytes, limits.size_max),
            "mempool transactions": (len(core.mempool), limits.count_max),
            "transactions wanted": (gossip["wanted"], WANTED_MAX),
            "transactions in flight": (gossip["in_flight"], IN_FLIGHT_MAX),
            "transactions remembered": (gossip["recent"], RECENT_MAX),
            "bytes that sync holds": (sync.get("held_bytes", 0), HELD_BYTES_MAX),
            **{
                f"the engine's {name}": (len(value), ENGINE_ENTRIES_MAX)
                for name, value in sorted(vars(innermost(core.driver.engine)).items())
                if isinstance(value, Sized)
            },
        }
        for name, (size, limit) in sizes.items():
            if size > limit:
                self._findings.violated(
                    "bounds", f"{node.name}: {name}: {size} of {limit}", node.world.now_ms
                )


def innermost(engine: object) -> object:
    """The engine itself, without what was put around it."""
    while hasattr(engine, "inner"):
        engine = engine.inner
    return engine
