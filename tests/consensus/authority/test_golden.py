"""What three signers do, as the production node does it in virtual time; and the page's diagram."""

from __future__ import annotations

from pathlib import Path

import pytest

from moot.lab.cluster import Cluster
from moot.lab.trace import TraceEvent
from tests.support.trace_diagrams import mermaid, traced, transcript
from tests.support.transcripts import check_golden

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "authority"
PAGE = ROOT / "docs" / "engines" / "authority.md"
NODES = ("n0", "n1", "n2")
SHOWN = ("persist", "import", "head", "crash", "start", "cut", "heal", "trace")


def shown(events: list[TraceEvent]) -> list[TraceEvent]:
    return [one for one in events if one.kind in SHOWN or one.what == "BlockBody"]


def in_turn() -> list[TraceEvent]:
    """Three slots, a block in turn each, and what each signer writes before it signs."""

    def course(cluster: Cluster) -> None:
        cluster.start()
        cluster.run(1_700)

    return shown(traced("authority", 3, course))


def one_is_down() -> list[TraceEvent]:
    """Whose turn it is has crashed: another steps in after a while, at half the weight."""

    def course(cluster: Cluster) -> None:
        cluster.start()
        cluster.run(600)
        cluster.nodes[2].crash()
        cluster.run(2_000)

    return shown(traced("authority", 3, course))


def a_minority_halts() -> list[TraceEvent]:
    """Cut off, one signer of three makes one block at most; it leaves that when the link heals."""

    def course(cluster: Cluster) -> None:
        cluster.start()
        cluster.run(600)
        cluster.network.partition(cluster.nodes[:1], cluster.nodes[1:])
        cluster.run(2_000)
        cluster.network.heal()
        cluster.run(400)

    return shown(traced("authority", 3, course))


SCENES = (in_turn, one_is_down, a_minority_halts)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", transcript(scene()))


def say(event: TraceEvent) -> str | None:
    match event.kind:
        case "persist":
            return "writes its record"
        case "import" if event.fields["origin"] == "own":
            return f"signs block {event.fields['height']}"
        case "send":
            return f"block {event.fields['height']}"
        case "head" | "import" | "start":
            return None
    return event.kind


def test_the_pages_diagram_is_what_happens() -> None:
    """docs/engines/authority.md shows what the signers really do."""
    events = [one for one in in_turn() if one.at_ms < 1_400]
    assert mermaid(NODES, events, say) in PAGE.read_text(encoding="utf-8")


def test_only_the_majority_went_on() -> None:
    events = a_minority_halts()
    own = [one for one in events if one.kind == "import" and one.fields["origin"] == "own"]
    cut_ms = next(one.at_ms for one in events if one.kind == "cut")
    alone = [one for one in own if one.node == "n0" and cut_ms <= one.at_ms < cut_ms + 2_000]
    others = [one for one in own if one.node != "n0" and cut_ms <= one.at_ms < cut_ms + 2_000]
    assert len(alone) <= 1 and len(others) >= 3
