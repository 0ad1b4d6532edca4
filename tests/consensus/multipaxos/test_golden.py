"""Golden transcripts of Multi-Paxos, and the page's diagram made from one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.contract import CommandGiven
from consensus.multipaxos import PROTOCOL, MultiPaxosParameters
from consensus.paxos.messages import Accepted
from tests.support.engine_cluster import Cluster, Node
from tests.support.paxos_words import show_message, show_record
from tests.support.transcripts import Transcript, check_golden

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "multipaxos"
PAGE = ROOT / "docs" / "engines" / "multipaxos.md"
PARAMETERS = MultiPaxosParameters(lease_ms=400, renew_ms=150, election_ms=100, election_ms_max=800)


def make(seed: int = 1) -> tuple[Cluster, Transcript]:
    cluster = Cluster(
        PROTOCOL, 3, seed=seed, parameters=PARAMETERS, background_sync_ms=None, latency_ms=(10, 14)
    )
    return cluster, Transcript(cluster, show_message, show_record)


def leader_of(cluster: Cluster) -> Node:
    (leader,) = [node for node in cluster.nodes if node.up and node.engine._leading]
    return leader


def elected(cluster: Cluster) -> Node:
    cluster.start()
    cluster.run_until(lambda: any(node.engine._leading for node in cluster.nodes), 1_000)
    cluster.run_for(60)
    return leader_of(cluster)


def election_and_two_blocks() -> Transcript:
    """Phase 1 once, then one round trip a block."""
    cluster, transcript = make()
    elected(cluster)
    for height in (1, 2):
        cluster.submit()
        cluster.run_until(lambda height=height: min(cluster.heights()) == height, 200)  # type: ignore[misc]
    return transcript


def new_leader_finishes_the_open_height() -> Transcript:
    """The leader dies when the others voted for its block, and before anybody knew that it is
    chosen. They are bound by its lease: for 400 ms after their grants (66 and 68 ms) election
    timers pass without a word. Then 0 canvasses, and its promises bind it to that block (P2c).
    """
    cluster, transcript = make()
    leader = elected(cluster)
    cluster.drop = lambda source, target, message: (
        isinstance(message, Accepted) and target is leader and source is not target
    )
    cluster.submit()
    others = [node for node in cluster.nodes if node is not leader]
    cluster.run_until(lambda: all(n.engine._acceptor.accepted is not None for n in others), 200)
    accepted = others[0].engine._acceptor.accepted.block_id
    leader.crash()
    cluster.run_until(lambda: min(node.finalized_height for node in others) == 1, 3_000)
    assert cluster.final[1] == accepted
    cluster.heal()
    cluster.restart(leader.number)
    cluster.run_until(lambda: min(cluster.heights()) == 1, 1_000)
    return transcript


def a_duel() -> Transcript:
    """Section 2.4: two nodes want to lead at once, each unaware of the other.

    Support binds nobody, so each supports the other, and both use their ballot. Of a round the
    node's place decides: 1 has promised (1,1) to itself and refuses (1,0); 0 promises the higher
    one and so gives up its own. It draws a new timeout instead of going up a round at once, so that
    one exchange ends the duel.
    """
    cluster, transcript = make()
    cluster.start([0, 1])
    cluster.run_until(lambda: any(node.engine._leading for node in cluster.nodes[:2]), 1_000)
    cluster.run_for(30)
    return transcript


def leadership_is_handed_over() -> Transcript:
    """An operator moves the leadership: the lease is given back, and with it the floor goes to the
    successor, so that nobody else stands. The old leader answers when it hears the new one lead."""
    cluster, transcript = make()
    leader = elected(cluster)
    leader.post(CommandGiven(1, "transfer", ()))
    leader.run()
    cluster.run_for(120)
    assert leader_of(cluster) is not leader
    return transcript


SCENES = (
    election_and_two_blocks,
    new_leader_finishes_the_open_height,
    a_duel,
    leadership_is_handed_over,
)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", scene().text)


def test_the_pages_diagram_is_the_conversation() -> None:
    """docs/engines/multipaxos.md shows what the nodes really say."""
    assert election_and_two_blocks().sequence_diagram() in PAGE.read_text(encoding="utf-8")
