"""What a partition and its healing look like, as the production node does it in virtual time."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from moot.lab.cluster import Cluster
from moot.lab.trace import TraceEvent
from moot.node.snapshots import SnapshotSettings
from tests.support.trace_diagrams import mermaid, traced, transcript
from tests.support.transcripts import check_golden

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "gossip"
PAGE = ROOT / "docs" / "engines" / "gossip.md"
NODES = ("n0", "n1", "n2")
PARAMETERS: dict[str, int | str] = {"digest_ms": 2_000, "confirmation_depth": 1}
UNTIL_MS = 2_150
"""Where the page's diagram ends: the sides are one, and have included what one of them lost."""
SHOWN = ("import", "head", "cut", "heal", "trace")


def shown(events: list[TraceEvent]) -> list[TraceEvent]:
    return [one for one in events if one.kind in SHOWN or one.what in ("Digest", "BlockBody")]


def both_sides_write() -> list[TraceEvent]:
    """One node is cut off from two; each side is paid something; then they meet."""

    def course(cluster: Cluster) -> None:
        rng = random.Random(1)
        cluster.start()
        cluster.run(200)
        cluster.network.partition(cluster.nodes[:1], cluster.nodes[1:])
        cluster.transfer(rng, cluster.nodes[0], cluster.users[0])
        cluster.transfer(rng, cluster.nodes[1], cluster.users[1])
        cluster.run(1_600)
        cluster.network.heal()
        cluster.run(2_300)

    return shown(traced("gossip", 3, course, PARAMETERS))


def a_quiet_network() -> list[TraceEvent]:
    """Nothing waits: digests, and no block."""

    def course(cluster: Cluster) -> None:
        cluster.start()
        cluster.run(4_500)

    return shown(traced("gossip", 3, course, PARAMETERS))


SCENES = (both_sides_write, a_quiet_network)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", transcript(scene()))


def say(event: TraceEvent) -> str | None:
    match event.kind:
        case "import" if event.fields["origin"] == "own":
            return f"writes {event.fields['block']} at height {event.fields['height']}"
        case "send" if event.what == "Digest":
            asks = ", and yours?" if event.fields["answer"] == "yes" else ""
            return f"digest, {event.fields['tips']} tips{asks}"
        case "send":
            return f"block {event.fields['block']}"
        case "trace":
            return event.what
        case "cut" | "heal":
            return f"{event.kind} {event.what}".rstrip()
    return None


def test_the_pages_diagram_is_what_happens() -> None:
    """docs/engines/gossip.md shows what the nodes really do."""
    events = [one for one in both_sides_write() if 200 <= one.at_ms < UNTIL_MS]
    assert mermaid(NODES, events, say) in PAGE.read_text(encoding="utf-8")


def test_a_quiet_network_makes_no_blocks() -> None:
    assert not [one for one in a_quiet_network() if one.kind == "import"]


def test_nothing_is_pruned_so_that_a_branch_of_any_length_can_be_left() -> None:
    """Two halves apart for longer than a pruning node would keep its blocks; then they meet."""
    cluster = Cluster("gossip", 2, 1)
    keeping = SnapshotSettings(every=0, gap_max=0, bodies=3)
    for node in cluster.nodes:
        node.settings = msgspec.structs.replace(node.settings, snapshots=keeping)
    cluster.start()
    cluster.network.partition(cluster.nodes[:1], cluster.nodes[1:])
    cluster.load(100)
    cluster.run(40_000)
    ledgers = [node.running.ledger for node in cluster.nodes]
    assert min(ledger.height(ledger.head()) for ledger in ledgers) > 80
    assert all(ledger.bodies_from <= 1 for ledger in ledgers)
    cluster.network.heal()
    cluster.run(10_000)
    height = min(ledger.height(ledger.head()) for ledger in ledgers)
    assert len({ledger.id_at(height - 1) for ledger in ledgers}) == 1
