"""How fast ``gossip`` converges, and what its anti-entropy costs. Virtual time: the same anywhere.

Run: python tests/bench/bench_gossip.py [PARTITIONS]

For each size: a network is cut in two halves for ten seconds while both are paid, then healed.
Convergence: from the healing until all heads are one block that stays. Redundancy: digests that
brought nothing new for each that did. Digests and bytes a node sends a second when nothing happens.
"""

from __future__ import annotations

import statistics
import sys

from consensus.gossip import GossipEngine
from moot.lab.cluster import Cluster
from p2p.wire import ConsensusFrame, PeerMessage, encode_frame

SIZES = (3, 5, 7, 15)
APART_MS = 10_000
QUIET_MS = 20_000


class Counter:
    """Consensus messages that nodes send: how many, how many bytes."""

    def __init__(self, cluster: Cluster) -> None:
        self.messages = self.bytes = 0
        cluster.network.watchers.append(self)

    def sent(self, pair: object, message: PeerMessage, frame: bytes) -> None:
        if isinstance(message, ConsensusFrame):
            self.messages += 1
            self.bytes += len(encode_frame(message))

    def arrived(self, pair: object, frame: bytes) -> None: ...


def engine_of(cluster: Cluster, number: int) -> GossipEngine:
    engine = cluster.nodes[number].running.driver.engine
    assert isinstance(engine, GossipEngine)
    return engine


def converge(nodes: int, seed: int) -> tuple[int, int, int]:
    """Milliseconds to one head, deepest reorganisation, most told as displaced."""
    cluster = Cluster("gossip", nodes, seed)
    cluster.start()
    cluster.run(2_000)
    cluster.load(100)
    cluster.network.partition(cluster.nodes[: nodes // 2], cluster.nodes[nodes // 2 :])
    cluster.run(APART_MS)
    before = [node.running.ledger.head() for node in cluster.nodes]
    cluster.network.heal()
    began_ms = cluster.world.now_ms

    def one_branch() -> bool:
        ledgers = [node.running.ledger for node in cluster.nodes]
        height = min(each.height(each.head()) for each in ledgers)
        return len({each.id_at(height) for each in ledgers}) == 1

    assert cluster.world.run_until(began_ms + 60_000, one_branch)
    took_ms = cluster.world.now_ms - began_ms
    depth = 0
    for node, old in zip(cluster.nodes, before, strict=True):
        ledger = node.running.ledger
        fork = ledger.height(old)
        while ledger.id_at(fork) != ledger.ancestor(old, fork):
            fork -= 1
        depth = max(depth, ledger.height(old) - fork)
    return took_ms, depth, max(len(node.running.displaced) for node in cluster.nodes)


def quiet(nodes: int) -> tuple[float, float]:
    """Digests, and their bytes, that a node sends a second when nothing happens."""
    cluster = Cluster("gossip", nodes, 1)
    cluster.start()
    cluster.run(5_000)
    counter = Counter(cluster)
    cluster.run(QUIET_MS)
    seconds = QUIET_MS / 1_000 * nodes
    return counter.messages / seconds, counter.bytes / seconds


def redundancy(nodes: int) -> tuple[int, int]:
    """Digests that brought news and that did not, under a steady load."""
    cluster = Cluster("gossip", nodes, 1)
    cluster.start()
    cluster.load(100)
    cluster.run(30_000)
    news = none = 0
    for number in range(nodes):
        node = cluster.nodes[number].running
        facts = engine_of(cluster, number).status(node.ledger, node.shell.clock()).facts
        news += int(facts["digests that brought news"])
        none += int(facts["digests that brought none"])
    return news, none


def main(partitions: int) -> None:
    print(
        "| nodes | converged after (ms), median and worst | deepest | digests a second | bytes | "
    )
    for nodes in SIZES:
        runs = [converge(nodes, seed) for seed in range(1, partitions + 1)]
        times = sorted(took_ms for took_ms, _, _ in runs)
        rate, size = quiet(nodes)
        news, none = redundancy(nodes)
        print(
            f"| {nodes} | {statistics.median(times):.0f}, {times[-1]} | "
            f"{max(depth for _, depth, _ in runs)} | {rate:.1f} | {size:.0f} | "
            f"{none / max(1, news):.1f} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
