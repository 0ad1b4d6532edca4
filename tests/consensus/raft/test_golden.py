"""Golden transcripts of Raft's conversations, and the page's diagram made from one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.contract import CommandGiven, Message
from consensus.raft import PROTOCOL, RaftParameters
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from consensus.raft.record import parse_record
from tests.support.engine_cluster import Cluster, Node
from tests.support.transcripts import Transcript, check_golden, short

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "raft"
PAGE = ROOT / "docs" / "engines" / "raft.md"
SLOW = RaftParameters(election_ms_min=600, election_ms_max=900, heartbeat_ms=300)
"""Few heartbeats, so that the conversations can be read."""


def show_message(message: Message) -> str:
    match message:
        case RequestVote():
            kind = "pre-vote?" if message.pre else "vote?"
            last = f"log t{message.last_term} h{message.last_height}"
            return f"{kind} t{message.term} {last}{' (transfer)' if message.transfer else ''}"
        case VoteReply():
            kind = "pre-vote" if message.pre else "vote"
            return f"{kind} t{message.term} {'yes' if message.granted else 'no'}"
        case AppendEntries():
            what = " ".join(short(block.id) for block in message.blocks) or "nothing"
            final = "" if message.committed is None else f", h{message.committed.height} committed"
            return f"append t{message.term} {what} after h{message.previous.height}{final}"
        case AppendReply():
            if message.success:
                return f"appended t{message.term} up to h{message.height}"
            hints = " ".join(f"h{one.height}" for one in message.hints) or "none"
            return f"refused t{message.term}, hints {hints}"
        case Committed():
            last = message.statements[-1]
            return f"committed t{last.term} h{last.height} {short(last.block_id)}"
        case TimeoutNow():
            return f"stand now t{message.term}"
    raise AssertionError(type(message).__name__)


def show_record(raw: bytes) -> str:
    record = parse_record(raw)
    vote = "" if record.voted_for is None else ", voted"
    return f"t{record.term}{vote}, log h{record.height} {short(record.tip)}"


def make() -> tuple[Cluster, Transcript]:
    cluster = Cluster(
        PROTOCOL, 3, seed=1, parameters=SLOW, background_sync_ms=None, latency_ms=(10, 14)
    )
    return cluster, Transcript(cluster, show_message, show_record)


def leader_of(cluster: Cluster) -> Node:
    (leader,) = [node for node in cluster.nodes if node.up and node.engine._role == "leader"]
    return leader


def election_and_one_block() -> Transcript:
    """5.2 and 5.3: a leader is elected, opens its term, and commits a transaction's block."""
    cluster, transcript = make()
    cluster.start()
    cluster.run_until(lambda: cluster.heights() == [1, 1, 1], 2_000)
    cluster.submit()
    cluster.run_until(lambda: cluster.heights() == [2, 2, 2], 200)
    return transcript


def leader_dies() -> Transcript:
    """5.2: the leader dies with a block that only it holds; another one is elected."""
    cluster, transcript = make()
    cluster.start()
    cluster.run_until(lambda: cluster.heights() == [1, 1, 1], 2_000)
    leader = leader_of(cluster)
    cluster.drop = lambda source, target, message: (
        source is leader and isinstance(message, AppendEntries) and bool(message.blocks)
    )
    cluster.submit()
    cluster.run_for(20)
    leader.crash()
    others = [node for node in cluster.nodes if node is not leader]
    cluster.run_until(lambda: min(node.finalized_height for node in others) == 2, 3_000)
    cluster.heal()
    cluster.restart(leader.number)
    cluster.run_until(lambda: cluster.heights() == [2, 2, 2], 1_000)
    return transcript


def leadership_is_handed_over() -> Transcript:
    """Thesis 3.10: an operator moves the leadership."""
    cluster, transcript = make()
    cluster.start()
    cluster.run_until(lambda: cluster.heights() == [1, 1, 1], 2_000)
    leader = leader_of(cluster)
    leader.post(CommandGiven(1, "transfer", ()))
    leader.run()
    cluster.run_until(lambda: cluster.heights() == [2, 2, 2], 500)
    assert leader_of(cluster) is not leader
    return transcript


SCENES = (election_and_one_block, leader_dies, leadership_is_handed_over)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", scene().text)


def test_the_pages_diagram_is_the_conversation() -> None:
    """docs/engines/raft.md shows what the servers really say."""
    assert election_and_one_block().sequence_diagram() in PAGE.read_text(encoding="utf-8")
