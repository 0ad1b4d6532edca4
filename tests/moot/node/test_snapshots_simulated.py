"""Whole nodes in a simulated network: a newcomer takes a snapshot where the others have pruned."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from chain.errors import InvalidProof
from chain.ledger.shelf import CHUNK
from chain.proof import Proof
from chain.snapshot import SetLink
from chain.state.chunks import chunks_of
from chain.state.tree import StateTree
from consensus.contract import Started
from moot.lab.cluster import Cluster
from moot.lab.node import SimulatedNode
from moot.node.documents import verify_document
from moot.node.rest.context import Context
from moot.node.rest.proofs import block_proof
from moot.node.snapshots import SnapshotSettings

PRUNING = SnapshotSettings(every=20, keep=2, gap_max=30, bodies=10)


def cluster_of(
    settings: SnapshotSettings, engine: str = "pbft", seed: int = 1, nodes: int = 4
) -> Cluster:
    cluster = Cluster(engine, nodes, seed)
    for node in cluster.nodes:
        node.settings = msgspec.structs.replace(node.settings, snapshots=settings)
    return cluster


def grown(cluster: Cluster, height: int, absent: int = 1) -> list[SimulatedNode]:
    """All but the last run until so many blocks are final."""
    present = cluster.nodes[: len(cluster.nodes) - absent]
    for node in present:
        node.start()
    cluster.load(60)
    assert cluster.world.run_until(600_000, lambda: min(cluster.final_heights()) >= height), (
        cluster.explain()
    )
    cluster.run(3_000)
    return present


def caught_up(cluster: Cluster, node: SimulatedNode, height: int, within_ms: int = 120_000) -> bool:
    def done() -> bool:
        if node.core is None:
            return False
        ledger = node.core.ledger
        return ledger.height(ledger.finalized()) >= height

    return cluster.world.run_until(cluster.world.now_ms + within_ms, done)


def test_a_newcomer_takes_a_snapshot_where_the_others_have_pruned() -> None:
    cluster = cluster_of(PRUNING)
    present = grown(cluster, 120)
    for node in present:
        ledger = node.running.ledger
        assert ledger.bodies_from > 60, "the first blocks are gone"
        kept = node.running.snapshots.kept
        assert len(kept) == 2 and kept[-1].height % 20 == 0
        assert ledger.bodies_from <= kept[0].height + 1, "the tail can be had by blocks"
    late = cluster.nodes[-1]
    rebased: list[bool] = []
    late.observe(lambda thing: rebased.append(getattr(thing, "rebased", False)), Started)
    late.start()
    top = max(cluster.final_heights())
    assert caught_up(cluster, late, top + 5), cluster.explain()
    ledger = late.running.ledger
    assert ledger.bodies_from > 60 and late.starts == 2
    assert rebased == [False, True], "the engine is told when blocks of its record may be gone"
    height = ledger.height(ledger.finalized())
    assert cluster.world.run_until(
        cluster.world.now_ms + 60_000, lambda: min(cluster.final_heights()) > height + 10
    )
    block = ledger.id_at(height)
    assert block is not None
    context = cast(Context, SimpleNamespace(core=late.running))
    verify_document(msgspec.json.encode(block_proof(context, block)), cluster.verifier)
    for node in present:
        other = node.running.ledger
        assert other.id_at(height) == block
        assert not node.misbehaviour, "nobody was blamed for anything"
    assert not late.misbehaviour


@pytest.mark.parametrize("gap_max", [30, pytest.param(0, marks=pytest.mark.slow)])
def test_a_far_gap_is_closed_by_a_snapshot_and_else_by_blocks(gap_max: int) -> None:
    settings = msgspec.structs.replace(PRUNING, bodies=0, gap_max=gap_max)
    cluster = cluster_of(settings)
    grown(cluster, 100)
    late = cluster.nodes[-1]
    late.start()
    assert caught_up(cluster, late, max(cluster.final_heights()) + 3), cluster.explain()
    took = late.running.ledger.bodies_from > 1
    assert took == (gap_max > 0)


def test_a_node_judges_descriptions_by_what_it_knows() -> None:
    cluster = cluster_of(msgspec.structs.replace(PRUNING, bodies=0))
    maker, *_ = grown(cluster, 45)
    snapshot = maker.running.snapshots.kept[-1]
    late = cluster.nodes[-1]
    late.settings = msgspec.structs.replace(
        late.settings, snapshots=SnapshotSettings(every=0, gap_max=0)
    )
    cluster.network.nodes = {late.key: late}  # nobody else is reached
    late.start()
    judge = late.running.snapshots.judge
    judge(snapshot)
    assert snapshot.proof is not None
    body = bytearray(snapshot.proof.body)
    body[-1] ^= 1
    replace = msgspec.structs.replace
    lies = {
        "snapshot-unproven": replace(snapshot, proof=None),
        "bad-signature": replace(snapshot, proof=replace(snapshot.proof, body=bytes(body))),
        "snapshot-heads": replace(snapshot, heads=snapshot.heads[1:-1]),
        "snapshot-foreign": replace(snapshot, chain_id=bytes(32)),
    }
    for code, lie in lies.items():
        with pytest.raises(InvalidProof) as raised:
            judge(lie)
        assert raised.value.code == code
    with pytest.raises(InvalidProof) as raised:
        maker.running.snapshots.judge(snapshot)
    assert raised.value.code == "snapshot-old"


def test_changes_of_members_below_what_is_final_here_are_not_taken_from_strangers() -> None:
    """They were not judged, would have replaced the own ones and been passed on: every newcomer
    would have refused this node's own snapshots, and blamed it."""
    cluster = cluster_of(msgspec.structs.replace(PRUNING, bodies=0))
    grown(cluster, 5, absent=0)
    *present, late = cluster.nodes
    final = late.running.ledger.height(late.running.ledger.finalized())
    late.crash()
    assert cluster.world.run_until(
        cluster.world.now_ms + 600_000, lambda: min(cluster.final_heights()) > final + 40
    )
    maker = present[0].running
    snapshot = maker.snapshots.kept[-1]
    head = maker.ledger.header(maker.ledger.id_at(3) or b"")
    false = SetLink(head, Proof("pbft", b"made up"), maker.ledger.validators(head.id))
    lie = msgspec.structs.replace(snapshot, links=(false,))
    cluster.network.nodes = {late.key: late}  # nobody else is reached
    late.start()
    desk = late.running.snapshots
    desk.begin(lie)
    assert desk.staged is not None and desk.staged.block == snapshot.block
    assert not desk.staged.links


def test_a_node_takes_no_state_leaf_by_leaf() -> None:
    cluster = cluster_of(msgspec.structs.replace(PRUNING, bodies=0))
    maker, *_ = grown(cluster, 45)
    snapshot = maker.running.snapshots.kept[-1]
    whole = maker.running.snapshots.chunk(snapshot.block, bytes(32))
    assert whole is not None and not whole.siblings, "the whole state has room in one chunk"
    late = cluster.nodes[-1]
    cluster.network.nodes = {late.key: late}  # nobody else is reached
    late.start()
    desk = late.running.snapshots
    desk.begin(snapshot)
    leaves = list(chunks_of(StateTree.build(whole.items), 1))
    with pytest.raises(InvalidProof) as raised:
        for leaf in leaves:
            desk.add(leaf)
    assert raised.value.code == "chunk-small" and desk.chunks_refused == 1
    assert desk.chunks_in <= max(len(leaf.siblings) for leaf in leaves)
    assert desk.add(whole) and not desk.gaps(), "an honest chunk covers what came before"


def test_a_node_that_took_a_snapshot_offers_none_from_which_it_cannot_lead_on() -> None:
    """Its own older ones stayed, and a newcomer that had nobody else would have taken one."""
    cluster = cluster_of(PRUNING)
    grown(cluster, 45, absent=0)
    *present, late = cluster.nodes
    old = late.running.snapshots.kept[-1].height
    late.crash()
    cluster.load(60)
    assert cluster.world.run_until(
        cluster.world.now_ms + 600_000,
        lambda: min(node.running.ledger.bodies_from for node in present) > old + 1,
    ), cluster.explain()
    cluster.run(3_000)
    late.start()
    assert cluster.world.run_until(
        cluster.world.now_ms + 60_000, lambda: late.running.ledger.bodies_from > old + 1
    ), cluster.explain()
    assert late.keeping["snapshot-installed"] == 1
    assert not late.running.snapshots.kept and not late.running.snapshots.holdings().snapshots
    assert cluster.world.run_until(
        cluster.world.now_ms + 120_000, lambda: bool(late.running.snapshots.kept)
    ), cluster.explain()
    held = late.running.snapshots.holdings()
    assert all(offer.height + 1 >= held.bodies_from for offer in held.snapshots)
    chunks = [int.from_bytes(key[1:9], "big") for key, _ in late.store.memory.scan(CHUNK)]
    assert min(chunks) > old, "what the old ones took up on the disk is free"
