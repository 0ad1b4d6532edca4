"""What one block costs: messages and bytes between the nodes, by kind, on a calm network.

One payment at a time, so that each block is a whole round of the protocol and nothing else. What
runs on a clock (heartbeats) falls into some rounds and not into others; medians leave it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Final

import msgspec

from chain.hashing import TxId
from consensus.registry import protocol
from moot.lab.cluster import Cluster
from moot.lab.network import Pair
from moot.lab.node import SimulatedNode
from p2p.wire import ConsensusFrame, PeerMessage

WARM_UP_MS: Final = 3_000
"""Until a leader is elected, and the first blocks are there."""
LINK_MS: Final = 2
"""What every message takes: the same for all, so that none is overtaken by what makes it needless.
On a real network some are, and are spared."""
PAUSE_MS: Final = LINK_MS + 1
"""After a block: its last answers are still under way."""
GAP_MS_MAX: Final = 100
"""Before a payment passes a random time up to this, so that none keeps step with a heartbeat."""
BLOCK_MS_MAX: Final = 60_000
"""A block that takes longer never comes."""


class NoBlock(RuntimeError):
    """A payment was not confirmed: there is nothing to measure."""


class Cost(msgspec.Struct, frozen=True):
    """Of one block: medians over ``blocks`` blocks.

    ``messages`` and ``bytes``: by kind; an engine's own messages by their names, the others, which
    all engines share, under "shared". ``consensus_messages``, ``consensus_bytes``: the engine's
    own, all kinds. ``confirmed_ms``: virtual time until the last node has the payment final (where
    nothing is ever final: in a block).
    """

    engine: str
    nodes: int
    blocks: int
    messages: Mapping[str, float]
    bytes: Mapping[str, float]
    consensus_messages: float
    consensus_bytes: float
    confirmed_ms: float


class Meter:
    """Counts what is sent; a watcher of the simulated network."""

    def __init__(self, engine: str) -> None:
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self._names = {
            message.__struct_config__.tag: message.__name__ for message in protocol(engine).messages
        }

    def sent(self, pair: Pair, message: PeerMessage, frame: bytes) -> None:
        name = self._names[message.tag] if isinstance(message, ConsensusFrame) else "shared"
        self.messages[name] += 1
        self.bytes[name] += len(frame)

    def arrived(self, pair: Pair, frame: bytes) -> None:
        pass

    def take(self) -> tuple[Counter[str], Counter[str]]:
        """What was counted since it was last asked."""
        taken = (self.messages, self.bytes)
        self.messages, self.bytes = Counter(), Counter()
        return taken


def measure(
    engine: str,
    nodes: int,
    *,
    blocks: int = 50,
    seed: int = 1,
    parameters: dict[str, int | str] | None = None,
) -> Cost:
    """The cost of a block. Raises UnknownEngine, ConfigError, NoBlock."""
    cluster = Cluster(engine, nodes, seed, parameters=parameters)
    meter = Meter(engine)
    cluster.network.watchers.append(meter)
    for one in cluster.nodes:
        for other in cluster.nodes:
            cluster.network.faults_of(one.key, other.key).delay_ms = (LINK_MS, LINK_MS)
    cluster.start()
    cluster.run(WARM_UP_MS)
    rng = cluster.world.rng("payments")
    rounds: list[tuple[Counter[str], Counter[str]]] = []
    times: list[int] = []
    for _ in range(blocks):
        _settle(cluster)
        cluster.run(rng.randrange(GAP_MS_MAX))
        meter.take()
        started_ms = cluster.world.now_ms
        cluster.transfer(rng, _producer(cluster))
        if not cluster.world.run_until(
            started_ms + BLOCK_MS_MAX, partial(_all_have, cluster, cluster.submitted[-1].id)
        ):
            raise NoBlock(f"{engine} confirmed no payment within {BLOCK_MS_MAX // 1000} s")
        times.append(cluster.world.now_ms - started_ms)
        cluster.run(PAUSE_MS)
        rounds.append(meter.take())
    messages = _medians([round_[0] for round_ in rounds])
    sizes = _medians([round_[1] for round_ in rounds])
    own = [sum(n for name, n in round_[0].items() if name != "shared") for round_ in rounds]
    own_bytes = [sum(n for name, n in round_[1].items() if name != "shared") for round_ in rounds]
    return Cost(
        engine, nodes, blocks, messages, sizes, median(own), median(own_bytes), median(times)
    )


def _settle(cluster: Cluster) -> None:
    """Until no node has anything left to include."""
    cluster.world.run_until(
        cluster.world.now_ms + BLOCK_MS_MAX,
        lambda: not any(len(node.running.mempool) for node in cluster.nodes),
    )


def _producer(cluster: Cluster) -> SimulatedNode:
    """Whoever makes the next block, where that is known: so that nothing has to be passed on."""
    leader = cluster.nodes[0].running.engine_status().leader
    return next((n for n in cluster.nodes if n.running.me == leader), cluster.nodes[0])


def _all_have(cluster: Cluster, txid: TxId) -> bool:
    for node in cluster.nodes:
        ledger = node.running.ledger
        located = ledger.transaction(txid)
        reached = ledger.finalized() if ledger.finalizes else ledger.head()
        if located is None or located.height > ledger.height(reached):
            return False
    return True


def _medians(counts: list[Counter[str]]) -> dict[str, float]:
    names = sorted({name for count in counts for name in count})
    found = {name: median(count[name] for count in counts) for name in names}
    return {name: value for name, value in found.items() if value}
