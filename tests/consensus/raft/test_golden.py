"""Golden transcripts of Raft's conversations, and the page's diagram made from one of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from chain.block import Block
from consensus.contract import CommandGiven, Message, ReadRequested
from consensus.raft import PROTOCOL, RaftParameters
from consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    Committed,
    ReadIndex,
    ReadIndexReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from consensus.raft.record import parse_record
from consensus.raft.rules import leaves_joint
from moot.lab.cluster import Cluster as SimulatedCluster
from moot.node.snapshots import SnapshotSettings
from tests.support.engine_cluster import Cluster, Node
from tests.support.raft_bench import members
from tests.support.trace_diagrams import traced, transcript
from tests.support.transcripts import Transcript, check_golden, short

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "raft"
PAGE = ROOT / "docs" / "engines" / "raft.md"
SLOW = RaftParameters(election_ms_min=600, election_ms_max=900, heartbeat_ms=300)
"""Few heartbeats, so that the conversations can be read."""
COMES_MS = 7_000
"""When the late follower starts."""


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
            what = " ".join(map(_show_entry, message.blocks)) or "nothing"
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
        case ReadIndex():
            return f"read index? t{message.term}"
        case ReadIndexReply():
            height = "none" if message.height is None else f"h{message.height}"
            return f"read index t{message.term} {height}"
    raise AssertionError(type(message).__name__)


def _show_entry(block: Block) -> str:
    return f"{short(block.id)}{' (leaves joint)' if leaves_joint(block.head) else ''}"


def show_record(raw: bytes) -> str:
    record = parse_record(raw)
    vote = "" if record.voted_for is None else ", voted"
    return f"t{record.term}{vote}, log h{record.height} {short(record.tip)}"


def make() -> tuple[Cluster, Transcript]:
    cluster = Cluster(
        PROTOCOL, 3, seed=1, parameters=SLOW, background_sync_ms=None, latency_ms=(10, 14)
    )
    return cluster, listen(cluster)


def listen(cluster: Cluster) -> Transcript:
    """What is said from now on."""
    return Transcript(cluster, show_message, show_record)


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


def a_follower_reads_by_read_index() -> Transcript:
    """Thesis 6.4, from the moment of the read on.

    The follower asks the leader, which notes what is committed (h1), and answers once a majority,
    itself and node 1, took part in a round of heartbeats that began after the question. No entry is
    appended and no record is written.
    """
    cluster, _ = make()
    cluster.start()
    cluster.run_until(lambda: cluster.heights() == [1, 1, 1], 2_000)
    cluster.run_for(30)
    transcript = listen(cluster)
    leader = leader_of(cluster)
    follower = next(node for node in cluster.nodes if node is not leader)
    follower.post(ReadRequested(1))
    cluster.run_for(55)
    assert transcript.text.count("ServeRead") == 1 and leader_of(cluster) is leader
    return transcript


def a_learner_becomes_a_voter() -> Transcript:
    """Section 6, from the election on: a joint configuration is entered and left.

    0 and 1 vote and 2 learns up to h1; the tree's table says so. The joint configuration decides h2
    and h3: both of {0, 1}, and two of {0, 1, 2}. Node 0's answers to h2 are lost until the next
    heartbeat: 1 and 2, which are two of the new three, do not decide it. Once h2 is final, 1
    appends the block that leaves the joint configuration, decided by both majorities itself. Then
    0 dies, and h4 is decided by the same two that were not enough for h2.
    """
    joint = members(0, 1, 2, old=(0, 1))
    sets = {1: members(0, 1, learners=(2,)), 2: joint, 3: joint}
    cluster = Cluster(
        PROTOCOL,
        2,
        seed=1,
        observers=1,
        parameters=SLOW,
        background_sync_ms=None,
        latency_ms=(10, 10),
    )
    cluster.validator_sets = lambda height: sets.get(height, members(0, 1, 2))
    cluster.start()
    cluster.run_until(lambda: any(n.engine._role == "leader" for n in cluster.nodes), 2_000)
    leader = leader_of(cluster)
    other = next(node for node in cluster.nodes[:2] if node is not leader)
    transcript = listen(cluster)
    cluster.drop = lambda source, target, message: (
        source is other and isinstance(message, AppendReply) and message.height == 2
    )
    cluster.run_for(100)
    assert leader.engine._progress[cluster.nodes[2].address].matched == 2
    assert cluster.heights() == [1, 1, 1]
    cluster.heal()
    cluster.run_until(lambda: cluster.heights() == [3, 3, 3], 500)
    other.crash()
    cluster.submit()
    cluster.run_until(lambda: leader.finalized_height == 4, 100)
    return transcript


SCENES = (
    election_and_one_block,
    leader_dies,
    leadership_is_handed_over,
    a_follower_reads_by_read_index,
    a_learner_becomes_a_voter,
)


def late_follower(cluster: SimulatedCluster) -> None:
    """Two of three decide 13 blocks and make snapshots; then the third one comes."""
    keeping = SnapshotSettings(every=4, keep=1, gap_max=4)
    for node in cluster.nodes:
        node.settings = msgspec.structs.replace(node.settings, snapshots=keeping)
    early, late = cluster.nodes[:2], cluster.nodes[2]
    for node in early:
        node.start()
    cluster.run(3_000)
    for _ in range(10):
        cluster.transfer(cluster.world.rng("pay"), early[0])
        cluster.run(200)
    cluster.run(COMES_MS - cluster.world.now_ms)
    late.start()
    cluster.run(500)
    cluster.transfer(cluster.world.rng("pay"), early[0])
    cluster.run(100)


def test_a_follower_is_caught_up_by_a_snapshot() -> None:
    """Section 7, between production nodes: what the follower n2 says and hears from its start on.

    It is further behind than ``gap_max``, so the node beneath the engine fetches the snapshot of
    h12, starts again on it, and takes h13 as a block. Raft's part begins at 7080 ms: the leader
    appends after h1, where what it knew of n2 had stopped. n2 holds no block from so far below any
    more; but what is final is in every log, so it agrees, takes nothing of what comes then a second
    time, and answers for its whole log. The entry after that (h14) is appended like anybody's.
    """
    slow = {"election_ms_min": 600, "election_ms_max": 900, "heartbeat_ms": 300}
    told = [
        event
        for event in traced("raft", 3, late_follower, parameters=slow)
        if event.at_ms >= COMES_MS and "n2" in (event.node, event.peer)
    ]
    check_golden(GOLDEN / "a_follower_is_caught_up_by_a_snapshot.txt", transcript(told))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_conversation_is_as_written(scene: object) -> None:
    assert callable(scene)
    check_golden(GOLDEN / f"{scene.__name__}.txt", scene().text)


def test_the_pages_diagram_is_the_conversation() -> None:
    """docs/engines/raft.md shows what the servers really say."""
    assert election_and_one_block().sequence_diagram() in PAGE.read_text(encoding="utf-8")
