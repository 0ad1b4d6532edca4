"""Golden transcripts of the Synod's conversations, and the page's diagram made from one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.paxos import PROTOCOL, PaxosParameters
from consensus.paxos.messages import Accepted, Promise
from tests.support.engine_cluster import Cluster
from tests.support.paxos_words import show_message, show_record
from tests.support.transcripts import Transcript, check_golden

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "paxos"
PAGE = ROOT / "docs" / "engines" / "paxos.md"


def make(spread_ms: int = 20) -> tuple[Cluster, Transcript]:
    parameters = PaxosParameters(spread_ms=spread_ms, retry_ms=200)
    cluster = Cluster(
        PROTOCOL, 3, seed=1, parameters=parameters, background_sync_ms=None, latency_ms=(10, 14)
    )
    return cluster, Transcript(cluster, show_message, show_record)


def one_decree() -> Transcript:
    """Section 2.2: a transaction at one node, both phases, and every learner learns."""
    cluster, transcript = make()
    cluster.start()
    cluster.submit(1, [0])
    cluster.run_for(100)
    assert cluster.heights() == [1, 1, 1]
    return transcript


def a_duel() -> Transcript:
    """Section 2.4: two nodes propose at once; the lower ballot leaves the floor."""
    cluster, transcript = make(spread_ms=1)
    cluster.start()
    cluster.submit(1, [0, 1])
    cluster.run_for(1_000)
    assert min(cluster.heights()) == 1
    assert any(trace.name == "gave-way" for node in cluster.nodes for trace in node.traces)
    return transcript


def a_vote_binds_the_next_proposer() -> Transcript:
    """Section 2.2, P2c: the first proposer dies after a vote; the next proposes the same block."""
    cluster, transcript = make()
    cluster.start()
    cluster.drop = lambda source, target, message: (
        isinstance(message, Accepted) and source is not target and cluster.now_ms < 200
    )
    cluster.submit(1, [0])
    voter = cluster.nodes[1]
    cluster.run_until(lambda: voter.engine._acceptor.accepted is not None, 100)
    accepted = voter.engine._acceptor.accepted.block_id
    cluster.nodes[0].crash()
    cluster.run_until(lambda: cluster.heights()[1:] == [1, 1], 3_000)
    assert cluster.final[1] == accepted
    return transcript


def an_acceptor_restarts() -> Transcript:
    """Section 2.5: it promised, lost power, and keeps its word."""
    cluster, transcript = make()
    cluster.drop = lambda source, target, message: (
        isinstance(message, Promise) and cluster.now_ms < 60
    )
    cluster.start()
    cluster.submit(1, [0])
    node = cluster.nodes[2]
    cluster.run_until(lambda: node.engine._acceptor.promised.round > 0, 100)
    node.crash()
    cluster.run_for(30)
    cluster.restart(2)
    cluster.run_for(1_500)
    assert cluster.heights() == [1, 1, 1]
    return transcript


SCENES = (one_decree, a_duel, a_vote_binds_the_next_proposer, an_acceptor_restarts)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", scene().text)


def test_the_pages_diagram_is_the_conversation() -> None:
    """docs/engines/paxos.md shows what the nodes really say."""
    assert one_decree().sequence_diagram() in PAGE.read_text(encoding="utf-8")
