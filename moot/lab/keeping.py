"""What the nodes of a run keep: snapshots and pruning, drawn from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from chain.block import Block
from chain.errors import Invalid
from chain.hashing import BlockId
from chain.ledger.disk import Disk, body_key
from moot.lab.node import SimulatedNode
from moot.lab.world import World
from moot.node.snapshots import SnapshotSettings

DRAWN: Final = "drawn"
NONE: Final = SnapshotSettings(every=0, gap_max=0)
"""No snapshots, and nothing pruned."""


class InvalidKeeping(Invalid):
    """Words that name no settings of snapshots."""


def keep(world: World, nodes: Sequence[SimulatedNode], text: str, archives: int) -> None:
    """Sets what each node keeps.

    ``text``: "drawn" (the seed decides), "none", or ``every,keep,gap,bodies`` for all nodes (see
    SnapshotSettings). The first ``archives`` nodes prune nothing, whatever is drawn for them: where
    nothing is final a newcomer needs all blocks. Raises InvalidKeeping.
    """
    fixed = None if text == DRAWN else settings_of(text)
    rng = world.rng("keeping")
    # Half of the runs keep everything, as nodes did before they could forget.
    plays = rng.random() < 0.5
    for number, node in enumerate(nodes):
        drawn = SnapshotSettings(
            every=rng.randint(3, 12),
            keep=rng.randint(1, 3),
            gap_max=rng.choice((0, 4, 15)),
            # Where nothing is final a branch that is deeper than this can never win.
            bodies=rng.choice((0, 15, 25) if archives else (0, 3, 8, 20)),
            depth=rng.randint(7, 12),
        )
        chosen = fixed if fixed is not None else drawn if plays else NONE
        if number < archives:
            chosen = msgspec.structs.replace(chosen, bodies=0)
        node.settings = msgspec.structs.replace(node.settings, snapshots=chosen)


def settings_of(text: str) -> SnapshotSettings:
    """The settings that the words name. Raises InvalidKeeping."""
    if text == "none":
        return NONE
    try:
        every, kept, gap, bodies = (int(word) for word in text.split(","))
    except ValueError:
        every = kept = gap = bodies = -1
    if min(every, gap, bodies) < 0 or not 1 <= kept <= 8:
        raise InvalidKeeping(
            "unknown-keeping", f"{text!r} is neither drawn, none nor EVERY,KEEP,GAP,BODIES"
        )
    return SnapshotSettings(every=every, keep=kept, gap_max=gap, bodies=bodies, depth=8)


def is_sole_holder(node: SimulatedNode, others: Sequence[SimulatedNode]) -> bool:
    """Whether only this node's disk still has a block that one of the ``others`` has pruned.

    Then nobody who lacks it can get it while the disk is away: no fault of any engine's. Disks are
    looked at, so that it does not matter who runs; one that is damaged counts for nothing.
    """
    own = Disk(node.store.memory)
    disks = [Disk(each.store.memory) for each in others if not each.store.is_damaged]
    gone = {
        (height, block)
        for disk in disks
        for height in range(1, disk.pruned.bodies_from)
        if (block := disk.id_at(height)) is not None
    }
    return any(
        _has(own, height, block) and not any(_has(disk, height, block) for disk in disks)
        for height, block in gone
    )


def _has(disk: Disk, height: int, block: BlockId) -> bool:
    return not disk.is_pruned(height) and disk.store.get(body_key(height, block)) is not None


def body_of(nodes: Sequence[SimulatedNode], block: BlockId) -> Block | None:
    """A block's body, from whichever node still has it."""
    for node in nodes:
        body = None if node.core is None else node.core.ledger.block(block)
        if body is not None:
            return body
    return None
