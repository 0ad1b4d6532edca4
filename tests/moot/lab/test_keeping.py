"""What the checker of what is kept asks of a node that took a snapshot, also in its last moment."""

from __future__ import annotations

import random

import msgspec
import pytest

from moot.lab.checkers.keeping import Keeping
from moot.lab.cluster import Cluster
from moot.lab.disk import WriteFault
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings
from moot.lab.run import Laboratory, RunOptions
from moot.lab.steps import Crash, FlipBit, Restart, Script, Wipe
from moot.node.snapshots import SnapshotSettings

PRUNING = SnapshotSettings(every=20, keep=2, gap_max=30, bodies=10)


def installed(fault: WriteFault | None) -> tuple[Cluster, SimulatedNode]:
    """A newcomer that has started on a snapshot of the others', who have pruned; it makes none.

    ``fault``: what befalls the write that puts the snapshot in its place.
    """
    cluster = Cluster("pbft", 4, 1)
    for node in cluster.nodes:
        node.settings = msgspec.structs.replace(node.settings, snapshots=PRUNING)
    *present, late = cluster.nodes
    makes_none = msgspec.structs.replace(PRUNING, every=1_000)
    late.settings = msgspec.structs.replace(late.settings, snapshots=makes_none)
    for node in present:
        node.start()
    cluster.load(60)
    assert cluster.world.run_until(600_000, lambda: min(cluster.final_heights()) >= 80)
    cluster.run(3_000)
    if fault is not None:
        late.stopped.append(lambda node: node.store.arm(fault))
        late.on_failure = lambda node, _: cluster.world.after(100, node.start)
    late.start()

    def begun() -> bool:
        return late.core is not None and late.core.ledger.bodies_from > 1

    assert cluster.world.run_until(cluster.world.now_ms + 120_000, begun), cluster.explain()
    assert late.starts == (2 if fault is None else 3)
    return cluster, late


def found(node: SimulatedNode) -> list[str]:
    findings = Findings()
    Keeping(node, findings).look()
    return [violation.message for violation in findings.violations]


@pytest.mark.parametrize("fault", [None, "crash-before", "torn", "crash-after"])
def test_what_lies_below_a_snapshot_that_was_taken_was_not_forgotten(
    fault: WriteFault | None,
) -> None:
    """Also when the process died right after it was put in its place, and could not say so."""
    _, node = installed(fault)
    ledger = node.running.ledger
    assert not node.running.snapshots.kept
    assert node.installed_height + 1 == ledger.bodies_from
    assert node.keeping["snapshot-installed"] == 1
    assert found(node) == []


def test_bodies_above_a_snapshot_that_was_taken_stay_until_another_stands_for_them() -> None:
    cluster, node = installed(None)
    ledger, goal = node.running.ledger, node.installed_height + 3

    def may_forget() -> bool:
        base = ledger.disk.base()
        return base is not None and base.height >= goal

    assert cluster.world.run_until(cluster.world.now_ms + 60_000, may_forget), cluster.explain()
    assert found(node) == []
    assert ledger.prune(goal) == goal
    assert found(node) == [
        f"{node.name} forgot all bodies below {goal}, and no snapshot on its disk reaches up to "
        "there"
    ]


def pruned_beyond(seed: int = 1) -> tuple[Laboratory, SimulatedNode, SimulatedNode]:
    """Four signers; the first two keep all, and the first was down while the others pruned."""
    script = Script(lasts_ms=10_000_000, load_tps=2.0, healing="quorum")
    options = RunOptions(engine="authority", nodes=4, seed=seed, snapshots="4,1,0,8")
    laboratory = Laboratory(options, script)
    laboratory.watch()
    laboratory.cluster.start()
    laboratory.clients.start()
    stale, current, *pruning = laboratory.nodes
    assert laboratory.faults.do(Crash("n0"))

    def is_pruned() -> bool:
        return all(node.running.ledger.bodies_from > 10 for node in pruning)

    assert laboratory.world.run_until(600_000, is_pruned), laboratory.cluster.explain()
    return laboratory, stale, current


def test_what_others_have_pruned_is_not_taken_from_the_only_disk_that_has_it() -> None:
    """Nobody could have followed any more who lacked it, and no engine was to blame."""
    laboratory, stale, _ = pruned_beyond()
    faults, world = laboratory.faults, laboratory.world
    assert not faults.do(Wipe("n1", for_ms=1_000)) and not faults.do(FlipBit("n1"))
    assert faults.idle == 2
    assert faults.do(Restart("n0"))

    def has_caught_up() -> bool:
        heights = [n.core.ledger.height(n.core.ledger.head()) for n in laboratory.nodes if n.core]
        return len(heights) == 4 and len(set(heights)) == 1

    world.run_until(world.now_ms + 10)
    assert world.run_until(world.now_ms + 60_000, has_caught_up)
    assert faults.do(Wipe("n1", for_ms=1_000)), "the first has it all by now"
    assert stale.starts == 2


def test_the_only_one_that_has_what_others_have_pruned_does_not_rest() -> None:
    rested: set[str] = set()
    for seed in range(4):
        laboratory, _, current = pruned_beyond()
        healthy = laboratory.faults.heal(1, random.Random(seed))
        assert current in healthy
        rested |= {node.name for node in laboratory.nodes if node not in healthy}
    assert rested and rested <= {"n0", "n2", "n3"}


def test_a_new_disk_has_taken_no_snapshot() -> None:
    _, node = installed(None)
    node.crash()
    node.wipe()
    assert node.installed_height == 0
