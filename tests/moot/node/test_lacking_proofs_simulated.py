"""A follower that hears of the latest commit only: what it can show, serve and snapshot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from chain.proof import Proof
from chain.transaction import VOTER, MembershipVote
from consensus.raft.messages import Statement
from moot.lab.cluster import Cluster
from moot.lab.network import Interception
from moot.lab.node import SimulatedNode
from moot.node.documents import verify_document
from moot.node.rest.context import Context
from moot.node.rest.proofs import block_proof
from moot.node.rest.routes import Problem
from moot.node.snapshots import SnapshotSettings


def hard_of_hearing(observers: int = 0) -> tuple[Cluster, SimulatedNode]:
    """Raft, and a follower that hears nothing for a tenth of a second now and then: what was said
    comes again, but of what was committed meanwhile an append names the latest block only."""
    cluster = Cluster("raft", 3, 5, observers=observers)
    for node in cluster.nodes:
        settings = SnapshotSettings(every=10, keep=2, gap_max=0)
        node.settings = msgspec.structs.replace(node.settings, snapshots=settings)
    servers = cluster.nodes[:3]
    for node in servers:
        node.start()
    cluster.load(20)
    assert cluster.world.run_until(60_000, lambda: min(cluster.final_heights()) >= 2)
    leader = servers[0].running.engine_status().leader
    return cluster, next(node for node in servers if node.signer.address != leader)


def mishear(cluster: Cluster, node: SimulatedNode) -> None:
    pairs = {(other.key, node.key): None for other in cluster.nodes if other is not node}
    for _ in range(6):
        silence = Interception("drop", pairs, None)
        cluster.network.interceptions.append(silence)
        cluster.run(100)
        cluster.network.interceptions.remove(silence)
        cluster.run(100)


def lacking(node: SimulatedNode) -> list[int]:
    """Final heights of which the node holds no proof."""
    ledger = node.running.ledger
    heights = range(1, ledger.height(ledger.finalized()) + 1)
    return [height for height in heights if ledger.proof(ledger.id_at(height) or b"") is None]


def test_blocks_learnt_final_by_a_later_one_are_shown_synced_and_snapshot_all_the_same() -> None:
    cluster, deaf = hard_of_hearing(observers=1)
    mishear(cluster, deaf)
    assert cluster.wait_final(max(cluster.final_heights()) + 20, 60_000)
    ledger = deaf.running.ledger
    final = ledger.height(ledger.finalized())
    assert len(lacking(deaf)) > 5 and final not in lacking(deaf)
    context = cast(Context, SimpleNamespace(core=deaf.running))
    for height in (*lacking(deaf), final):
        document = block_proof(context, ledger.id_at(height) or b"")
        assert bool(document.confirmations) == (height != final)
        assert verify_document(msgspec.json.encode(document), cluster.verifier).height == height
    assert deaf.running.snapshots.kept, "a proof above it shows a snapshot"
    late = cluster.nodes[-1]
    for node in cluster.nodes[:3]:
        if node is not deaf:
            node.crash()
    late.start()

    def has_caught_up() -> bool:
        mine = late.running.ledger
        return mine.finalized() == ledger.finalized()

    assert cluster.world.run_until(cluster.world.now_ms + 30_000, has_caught_up), cluster.explain()
    assert late.running.ledger.bodies_from <= 1, "by blocks"


def test_a_change_of_members_that_cannot_be_shown_is_asked_for_until_it_can() -> None:
    """No later block stands for it: its own children are decided by those whom it brings in."""
    cluster, deaf = hard_of_hearing(observers=1)
    new = cluster.nodes[3]
    new.start()
    assert cluster.wait_final(10, 5_000)
    ledger, theirs = deaf.running.ledger, new.running.ledger
    for voter in range(3):
        cluster.vote(voter, MembershipVote(new.signer.address, VOTER, 1, "n3"))
    silence = Interception("drop", {(node.key, deaf.key): None for node in cluster.nodes}, None)
    cluster.network.interceptions.append(silence)

    def has_changed() -> bool:
        links = theirs.disk.links()
        # The joint set and the new one: of one of the two the first append after the silence hardly
        # ever brings the statement.
        return bool(links) and theirs.height(theirs.finalized()) > links[0].head.height + 6

    assert cluster.world.run_until(cluster.world.now_ms + 1_000, has_changed)
    cluster.network.interceptions.remove(silence)
    last = theirs.disk.links()[-1].head.height
    assert cluster.wait_final(last + 1, 3_000)
    unproven = ledger.unproven
    assert unproven, "it missed the very statement of one"
    change, block = unproven[0]
    context = cast(Context, SimpleNamespace(core=deaf.running))
    with pytest.raises(Problem) as raised:
        block_proof(context, ledger.finalized())
    assert raised.value.code == "no-proof" and "asks its peers" in raised.value.sentence
    deaf.running.inbox.proof(block, Statement(change, block, 1, b"").proof, new.key)
    deaf.running.inbox.proof(block, Proof("raft", b"\x00"), new.key)
    assert ledger.unproven == unproven, "false ones help nothing"
    assert deaf.misbehaviour == {(new.key, "invalid-proof"): 2}
    deaf.crash()
    deaf.start()
    ledger = deaf.running.ledger
    assert ledger.unproven == unproven, "it knows what it lacks after a restart too"
    assert cluster.world.run_until(cluster.world.now_ms + 30_000, lambda: not ledger.unproven)
    document = block_proof(cast(Context, SimpleNamespace(core=deaf.running)), ledger.finalized())
    assert {height for height, _ in unproven} <= {link.head.height for link in ledger.disk.links()}
    assert document.set_changes
    verify_document(msgspec.json.encode(document), cluster.verifier)
    assert not any(node.misbehaviour for node in cluster.nodes if node is not deaf)
    assert deaf.misbehaviour == {(new.key, "invalid-proof"): 2}
