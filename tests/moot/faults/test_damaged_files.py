"""A node whose LevelDB files were cut short or had a byte flipped while it was down.

Whatever the file and the offset: the node says so and does not run, or it runs on a true past:
each block that it calls final is the one that was final at that height. (A log that was cut at its
end looks like one that was never longer: that node knows less, and must not be believed alone.)
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from chain.errors import DamagedStore, ForeignStore, StoreFailure
from chain.hashing import BlockId
from chain.transaction import Transfer
from moot.node.config import Folder
from moot.node.runtime import NodeRuntime
from tests.support.one_node import KEYS, OneNode

BLOCKS = 12
POSITIONS = 30

pytestmark = pytest.mark.slow


async def make_chain(directory: Path) -> dict[int, BlockId]:
    """A node's folder with some blocks, and which block is final at which height."""
    async with OneNode(directory) as node:
        for _ in range(BLOCKS):
            await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 7)]))
        ledger = node.core.ledger
        top = ledger.height(ledger.finalized())
        found = {height: ledger.id_at(height) for height in range(top + 1)}
    return {height: block for height, block in found.items() if block is not None}


async def opens(folder: Folder) -> dict[int, BlockId] | None:
    """The final blocks of a node that starts there; None where it says that it cannot."""
    runtime = NodeRuntime(folder, folder.load_config({}))
    seen: dict[int, BlockId] = {}

    def ready(running: NodeRuntime) -> None:
        ledger = running.core.ledger
        for height in range(ledger.height(ledger.finalized()) + 1):
            block = ledger.id_at(height)
            assert block is not None, height
            assert ledger.block(block) is not None, height
            seen[height] = block
        running.request_stop()

    try:
        async with asyncio.timeout(30):
            await runtime.run(ready)
    except (DamagedStore, ForeignStore, StoreFailure):
        return None
    return seen


def flip(path: Path, offset: int, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut_short(path: Path, offset: int, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:offset])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("harm", [flip, cut_short])
async def test_damage_is_told_or_the_past_is_true(tmp_path: Path, harm: object) -> None:
    truth = await make_chain(tmp_path)
    whole = tmp_path / "node"
    assert await opens(Folder(shutil.copytree(whole, tmp_path / "copy"))) == truth
    rng = random.Random(20261123)
    told = borne = 0
    for number in range(POSITIONS):
        place = shutil.copytree(whole, tmp_path / f"damaged{number}")
        # LevelDB's own log of what it did (LOG) and its lock hold nothing of ours.
        files = sorted(f for f in (place / "db").iterdir() if f.name not in ("LOG", "LOCK"))
        path = rng.choice([file for file in files if file.stat().st_size])
        offset = rng.randrange(path.stat().st_size)
        assert callable(harm)
        harm(path, offset, rng)
        found = await opens(Folder(place))
        if found is None:
            told += 1
        else:
            borne += 1
            wrong = [height for height, block in found.items() if truth.get(height, block) != block]
            assert not wrong, (path.name, offset)
        shutil.rmtree(place)
    assert told, "damage was never noticed"
    assert told + borne == POSITIONS
