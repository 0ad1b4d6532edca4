"""Forgetting old bodies: first the claim goes, in one synced write, then slice by slice the rows.

What goes with a body: receipts and credits, undo, its proof, and its entries in the indexes of
transactions and addresses. Heads stay (the chain of ids, work and validator sets), and so do the
sums of addresses and the proofs of changes of the validator set. A crash at any point leaves less
claimed than is there, never more.
"""

from __future__ import annotations

from typing import Final

import msgspec

from chain import codec
from chain.hashing import BlockId
from chain.ledger.disk import (
    BODY,
    PRUNED_KEY,
    Disk,
    Rows,
    body_key,
    delta_key,
    height_key,
    history_key,
    index_key,
    place_key,
    proof_key,
    result_key,
)
from chain.ledger.shelf import left_behind
from chain.ledger.touches import touches

SWEEP_HEIGHTS: Final = 16
"""Heights that one slice deletes: some 10,000 rows where blocks hold hundreds of transactions."""

HEIGHTS: Final = b"H"


def prune_below(disk: Disk, bodies_from: int) -> None:
    """From now on bodies below this height are not claimed, nor snapshots from which nothing leads
    on any more. One synced write."""
    row = msgspec.structs.replace(disk.pruned, bodies_from=bodies_from)
    disk.write({**left_behind(disk, bodies_from), PRUNED_KEY: codec.encode(row)}, sync=True)
    disk.pruned = row


def sweep(disk: Disk, heights: int) -> bool:
    """Deletes what is not kept at the next ``heights`` heights; True: there is more to do."""
    pruned = disk.pruned
    goal = max(pruned.bodies_from, pruned.heads_from)
    start = _next_height(disk, max(1, pruned.swept), goal)
    end = min(start + heights, goal)
    rows: Rows = {}
    gone: list[BlockId] = []
    for height in range(start, end):
        for block in disk.ids_at(height):
            _forget(disk, height, block, rows)
            gone.append(block)
        if height < pruned.heads_from:
            main = disk.store.get(height_key(height))
            rows[height_key(height)] = None
            for block in [*gone, *([main] if main is not None else [])]:
                rows[index_key(block)] = None
    if end <= pruned.swept:
        return False
    row = msgspec.structs.replace(pruned, swept=end)
    rows[PRUNED_KEY] = codec.encode(row)
    # Synced: else a power loss could take back these deletions and keep a later slice's mark.
    disk.write(rows, sync=True)
    disk.pruned = row
    for block in gone:
        disk.forget(block)
    return end < goal


def _next_height(disk: Disk, start: int, goal: int) -> int:
    """The lowest height from ``start`` on at which something may lie; at most ``goal``."""
    for prefix in (BODY, HEIGHTS) if start < disk.pruned.heads_from else (BODY,):
        found = next(disk.store.scan(prefix, start=start.to_bytes(8, "big")), None)
        height = goal if found is None else int.from_bytes(found[0][1:9], "big")
        if prefix == BODY:
            lowest = height
        else:
            lowest = min(lowest, height)
    return max(start, min(lowest, goal))


def _forget(disk: Disk, height: int, block: BlockId, rows: Rows) -> None:
    """The rows of one block that go with its body."""
    body, result = disk.stored_body(height, block), disk.result(block)
    rows[body_key(height, block)] = None
    rows[result_key(block)] = rows[delta_key(block)] = rows[proof_key(block)] = None
    if body is None:
        return
    for leaf in body.leaves:
        place = disk.place(leaf)
        if place is not None and place.height == height:
            rows[place_key(leaf)] = None
    if result is not None:
        for touch in touches(body, result):
            rows[history_key(touch.address, height, touch.position)] = None
