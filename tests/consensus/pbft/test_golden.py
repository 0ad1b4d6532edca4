"""Golden transcripts of PBFT's conversations, and the page's diagram made from one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.hashing import ZERO_HASH
from consensus.contract import Message
from consensus.pbft import PROTOCOL, PbftParameters
from consensus.pbft.messages import Commit, Decided, NewView, Prepare, PrePrepare, ViewChange
from consensus.pbft.record import Choice, parse_record
from tests.support.engine_cluster import Cluster
from tests.support.transcripts import Transcript, check_golden, short

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "pbft"
PAGE = ROOT / "docs" / "engines" / "pbft.md"
PARAMETERS = PbftParameters(view_timeout_ms=400)


def show_message(message: Message) -> str:
    match message:
        case PrePrepare():
            body = "" if message.block is not None else " (no body)"
            return f"pre-prepare v{message.view} h{message.height} {short(message.block_id)}{body}"
        case Prepare():
            return f"prepare v{message.view} h{message.height} {short(message.block_id)}"
        case Commit():
            return f"commit v{message.view} h{message.height} {short(message.block_id)}"
        case ViewChange():
            prepared = message.prepared
            claim = "nothing" if prepared is None else f"{short(prepared.block_id)}"
            return f"view-change v{message.view} h{message.height} prepared {claim}"
        case NewView():
            free = message.block_id == ZERO_HASH
            choice = "free choice" if free else short(message.block_id)
            return f"new-view v{message.view} h{message.height} {choice}"
        case Decided():
            certificate = message.certificate
            return f"decided h{certificate.height} {short(certificate.block_id)}"
    raise AssertionError(type(message).__name__)


def show_record(raw: bytes) -> str:
    record = parse_record(raw)

    def vote(name: str, choice: Choice | None) -> str:
        return "" if choice is None else f", {name} {short(choice.block_id)}@v{choice.view}"

    state = "" if record.active else " changing"
    prepared = record.prepared
    return (
        f"h{record.height} v{record.view}{state}"
        + vote("pre-prepare", record.pre_prepare)
        + vote("prepare", record.prepare)
        + vote("commit", record.commit)
        + ("" if prepared is None else f", prepared {short(prepared.block_id)}@v{prepared.view}")
    )


def make(n: int = 4) -> tuple[Cluster, Transcript]:
    cluster = Cluster(
        PROTOCOL, n, seed=1, parameters=PARAMETERS, background_sync_ms=None, latency_ms=(10, 14)
    )
    return cluster, Transcript(cluster, show_message, show_record)


def normal_case() -> Transcript:
    """Section 4.2: one transaction, one block, three phases."""
    cluster, transcript = make()
    cluster.start()
    cluster.submit()
    cluster.run_for(100)
    assert cluster.heights() == [1, 1, 1, 1]
    return transcript


def silent_primary() -> Transcript:
    """Section 4.4 with nothing prepared: the primary is down, the next one chooses freely."""
    cluster, transcript = make()
    cluster.start((1, 2, 3))
    cluster.submit()
    cluster.run_for(700)
    assert cluster.heights() == [-1, 1, 1, 1]
    return transcript


def prepared_block_survives() -> Transcript:
    """Section 4.4 with a prepared block: the commits are lost and the primary dies."""
    cluster, transcript = make()
    cluster.drop = lambda source, target, message: isinstance(message, Commit) and message.view == 0
    cluster.start()
    cluster.submit()
    cluster.run_for(60)
    cluster.nodes[0].crash()
    cluster.run_for(600)
    assert cluster.heights() == [-1, 1, 1, 1]
    return transcript


def backup_restarts() -> Transcript:
    """A backup loses power after its prepare, and says it again, unchanged."""
    cluster, transcript = make()
    cluster.start()
    node = cluster.nodes[2]
    cluster.submit()
    cluster.run_until(lambda: node.engine._record.prepare is not None, limit_ms=100)
    node.crash()
    cluster.run_for(20)
    cluster.restart(2)
    cluster.run_for(400)
    assert cluster.heights() == [1, 1, 1, 1]
    return transcript


SCENES = (normal_case, silent_primary, prepared_block_survives, backup_restarts)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", scene().text)


def test_the_pages_diagram_is_the_conversation() -> None:
    """docs/engines/pbft.md shows what the replicas really say."""
    assert normal_case().sequence_diagram() in PAGE.read_text(encoding="utf-8")
