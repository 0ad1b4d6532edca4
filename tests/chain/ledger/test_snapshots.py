"""Snapshots on disk: made in slices, taken in chunk by chunk, installed in one write."""

from __future__ import annotations

import contextlib
import random

import msgspec
import pytest

from chain.block import Block
from chain.errors import DamagedStore, InvalidProof
from chain.genesis import Limits
from chain.hashing import sha256d
from chain.ledger import Ledger
from chain.ledger.shelf import Shelf
from chain.ledger.staging import Staging
from chain.proof import Proof
from chain.snapshot import Snapshot
from chain.state.chunks import StateChunk, chunks_of
from chain.storage.memory import MemoryStore
from tests.chain.ledger.observe import rows
from tests.chain.ledger.test_crash import FusedStore, PowerLoss
from tests.chain.ledger.test_pruning import chain_of
from tests.support.chains import address, extend, grow, make_genesis, open_ledger

LAG = 4
GENESIS = make_genesis(accounts=40, validators=4, limits=Limits(validator_lag=LAG))
SMALL = 400
"""Bytes of a chunk, so that a small state has many."""


def long_chain(count: int = 40) -> tuple[Ledger, list[Block]]:
    ledger = open_ledger(GENESIS, MemoryStore(), flush_blocks=4)
    return ledger, chain_of(ledger, count)


def snapshot_at(height: int = 30, count: int = 40) -> tuple[Snapshot, list[StateChunk], Ledger]:
    """A snapshot, its chunks, and the ledger it is of."""
    ledger = open_ledger(GENESIS, MemoryStore(), flush_blocks=4)
    blocks = chain_of(ledger, height + 1)
    chunks = list(chunks_of(ledger.state(blocks[height - 1].id), SMALL))
    for number in range(height + 1, count):
        block = grow(ledger, ledger.head(), tag=number)
        ledger.set_head(block.id)
        ledger.finalize(block.id, Proof("test", b"%d" % number))
    found = ledger.describe(height)
    assert found is not None
    return found, chunks, ledger


def stage(store: MemoryStore, snapshot: Snapshot, chunks: list[StateChunk]) -> None:
    """From wherever it stands to the end: what a node does, start after start."""
    ledger = open_ledger(GENESIS, store)
    if ledger.height(ledger.head()) >= snapshot.height:
        return
    staging = Staging(ledger.disk)
    if staging.snapshot is None:
        while staging.sweep():
            pass
        staging.begin(snapshot)
    for chunk in chunks:
        chunk.check(snapshot.root)
        staging.add(chunk)
    assert staging.complete
    staging.install(LAG)


def check_installed(store: MemoryStore, snapshot: Snapshot, source: Ledger) -> None:
    """It stands on the snapshot, and goes on by blocks to where the other one is."""
    ledger = open_ledger(GENESIS, store)
    assert ledger.head() == ledger.finalized() == snapshot.block
    assert ledger.state().root == snapshot.root
    assert ledger.block(snapshot.block) is None and ledger.receipts(snapshot.block) is None
    assert ledger.bodies_from == snapshot.height + 1
    for head in snapshot.heads[: snapshot.height - snapshot.lowest + 1]:
        assert ledger.id_at(head.height) == head.id and ledger.head_of(head.id) == head
    if snapshot.lowest > 1:
        assert ledger.heads_from == snapshot.lowest and ledger.id_at(snapshot.lowest - 1) is None
    top = source.height(source.head())
    for height in range(snapshot.height + 1, top + 1):
        block_id = source.id_at(height)
        block = None if block_id is None else source.block(block_id)
        assert block is not None
        ledger.insert(block, 1, ())
        ledger.set_head(block.id)
        ledger.finalize(block.id, None)
    assert ledger.state().root == source.state().root
    assert ledger.account(address(1)) == source.account(address(1))
    extend(ledger, 40)  # over the skip links of every height


def test_a_ledger_begins_from_a_snapshot_and_goes_on_by_blocks() -> None:
    snapshot, chunks, source = snapshot_at()
    assert len(chunks) > 5 and snapshot.top.height == 30 + LAG - 1
    snapshot.check_form(source.chain_id, LAG)
    store = MemoryStore()
    stage(store, snapshot, chunks)
    check_installed(store, snapshot, source)


def test_the_next_record_ends_the_note_that_a_snapshot_came_after_the_last_one() -> None:
    snapshot, chunks, _ = snapshot_at()
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    ledger.persist(b"record", (grow(ledger, ledger.head()).id,))
    assert not ledger.rebased
    stage(store, snapshot, chunks)
    for _ in range(2):
        ledger = open_ledger(GENESIS, store)
        assert ledger.rebased, "the record may name blocks that the snapshot replaced"
    ledger.persist(b"another", ())
    assert not ledger.rebased and not open_ledger(GENESIS, store).rebased


def test_blocks_off_the_main_chain_find_their_ancestors_past_the_heads_that_are_gone() -> None:
    """As when stored blocks are replayed, none of which was the head yet: the skip links of some
    (25's names 1) end at heads that are not kept, and genesis lies beyond them."""
    snapshot, chunks, source = snapshot_at(20, 40)
    store = MemoryStore()
    stage(store, snapshot, chunks)
    ledger = open_ledger(GENESIS, store)
    assert 1 < snapshot.lowest < snapshot.height == ledger.height(ledger.head())
    for top in range(snapshot.height + 1, 40):
        block_id = source.id_at(top)
        block = None if block_id is None else source.block(block_id)
        assert block is not None
        ledger.insert(block, 1, ())
        assert ledger.ancestor(block.id, 0) == ledger.chain_id
        for height in range(snapshot.lowest, top):
            assert ledger.ancestor(block.id, height) == source.id_at(height)
        for height in range(1, snapshot.lowest):
            with pytest.raises(KeyError):
                ledger.ancestor(block.id, height)
    assert ledger.head() == snapshot.block


def test_a_second_snapshot_uses_the_other_area_and_leaves_nothing_behind() -> None:
    first, chunks, _ = snapshot_at(20)
    store = MemoryStore()
    stage(store, first, chunks)
    assert rows(store, b"S") != [] and open_ledger(GENESIS, store).disk.area == b"U"
    second, more, source = snapshot_at(45, 55)
    stage(store, second, more)
    ledger = open_ledger(GENESIS, store)
    assert ledger.disk.area == b"S"
    staging = Staging(ledger.disk)
    while staging.sweep():
        pass
    while ledger.sweep():
        pass
    assert rows(store, b"U") == rows(store, b"G") == []
    heights = {int.from_bytes(key[1:], "big") for key, _ in rows(store, b"H")}
    assert heights == {0, *range(second.lowest, 46)}
    check_installed(store, second, source)


def test_a_node_with_blocks_of_its_own_takes_a_later_snapshot() -> None:
    snapshot, chunks, source = snapshot_at()
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, flush_blocks=1)
    for height in range(1, 9):
        block_id = source.id_at(height)
        block = None if block_id is None else source.block(block_id)
        assert block is not None
        ledger.insert(block, 1, ())
        ledger.set_head(block.id)
        ledger.finalize(block.id, None)
    # A proposal of its own that never became final, durable with its vote.
    lost = grow(ledger, ledger.head(), tag=99)
    ledger.persist(b"record", (lost.id,))
    stage(store, snapshot, chunks)
    again = open_ledger(GENESIS, store)
    assert not again.knows(lost.id) and again.record() == b"record"
    while again.sweep():
        pass
    assert {key[9:] for key, _ in rows(store, b"B")} == {again.chain_id}
    check_installed(store, snapshot, source)


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_any_write_loses_no_chunk_and_installs_all_or_nothing(power: bool) -> None:
    snapshot, chunks, source = snapshot_at(20, 30)
    fuse = 0
    while True:
        store = FusedStore()
        open_ledger(GENESIS, store)
        store.fuse = fuse
        with contextlib.suppress(PowerLoss):
            stage(store, snapshot, chunks)
        finished = store.fuse > 0
        store.fuse = None
        if power:
            store.lose_unsynced(random.Random(fuse), rotated=True)
        ledger = open_ledger(GENESIS, store)  # either chain is whole
        assert ledger.height(ledger.head()) in (0, 20)
        received = len(rows(store, b"G"))
        assert received >= min(len(chunks), fuse - 1) or ledger.height(ledger.head()) == 20
        stage(store, snapshot, chunks)
        check_installed(store, snapshot, source)
        if finished:
            return
        fuse += 1


def test_what_was_damaged_on_the_disk_is_noticed_before_it_is_installed() -> None:
    snapshot, chunks, _ = snapshot_at()
    store = MemoryStore()
    staging = Staging(open_ledger(GENESIS, store).disk)
    staging.sweep()
    staging.begin(snapshot)
    for chunk in chunks:
        staging.add(chunk)
    key, value = next(iter(store.scan(b"U")))
    store.write([(key, value + b"x")], True)
    again = Staging(open_ledger(GENESIS, store).disk)
    with pytest.raises(DamagedStore):
        assert again.complete
    again.drop()
    assert open_ledger(GENESIS, store).height(open_ledger(GENESIS, store).head()) == 0


# ------------------------------------------------------------------------------------- the shelf


def shelve(shelf: Shelf, ledger: Ledger, height: int, keep: int = 2) -> None:
    block = ledger.id_at(height)
    assert block is not None
    shelf.begin(height, ledger.state(block))
    while shelf.work():
        pass
    snapshot = ledger.describe(height)
    assert snapshot is not None
    shelf.finish(snapshot, keep)
    while shelf.sweep():
        pass


def in_memory(store: MemoryStore) -> Ledger:
    """Everything stays in memory: nothing is final until the end."""
    ledger = open_ledger(GENESIS, store, flush_blocks=1_000)
    chain_of(ledger, 40)
    return ledger


@pytest.mark.parametrize("how", ["took a later one", "was pruned"])
def test_snapshots_from_which_nothing_leads_on_are_dropped(how: str) -> None:
    """They are true, and who took one there would wait for blocks that are not there."""
    store = MemoryStore()
    ledger = in_memory(store)
    for height in (10, 12):
        shelve(Shelf(ledger.disk), ledger, height)
    if how == "was pruned":
        ledger.flush()
        for bodies_from, left in ((11, [10, 12]), (12, [12]), (13, [12]), (14, [])):
            assert ledger.prune(bodies_from) == bodies_from
            assert [each.height for each in Shelf(ledger.disk).kept] == left
    else:
        staging, later = Staging(ledger.disk), ledger.describe(30)
        assert later is not None
        staging.begin(later)
        for chunk in chunks_of(ledger.state(later.block)):
            staging.add(chunk)
        staging.install(LAG)
    shelf = Shelf(open_ledger(GENESIS, store).disk)
    assert not shelf.kept and rows(store, b"P")
    while shelf.sweep():
        pass
    assert not rows(store, b"P")


def test_the_newest_few_are_kept_and_serve_any_path() -> None:
    store = MemoryStore()
    ledger = in_memory(store)
    shelf = Shelf(ledger.disk)
    for height in (10, 20, 30):
        shelve(shelf, ledger, height)
    for each in (shelf, Shelf(ledger.disk)):
        assert [kept.height for kept in each.kept] == [20, 30]
        for kept in each.kept:
            assert each.find(kept.block) == kept
            kept.check_form(ledger.chain_id, LAG)
            items = {}
            for chunk in each.chunks(kept.height):
                chunk.check(kept.root)
                items.update(chunk.items)
                for path in (chunk.first, (chunk.first + chunk.end) // 2, chunk.end - 1):
                    assert each.chunk(kept.height, path.to_bytes(32, "big")) == chunk
            assert items == dict(ledger.state(kept.block).items())
        assert each.find(ledger.chain_id) is None
    assert {int.from_bytes(key[1:9], "big") for key, _ in rows(store, b"P")} == {20, 30}


@pytest.mark.parametrize("power", [False, True])
def test_a_crash_at_any_write_leaves_a_whole_snapshot(power: bool) -> None:
    fuse = 0
    while True:
        store = FusedStore()
        ledger = in_memory(store)
        shelve(Shelf(ledger.disk), ledger, 10, keep=1)
        store.fuse = fuse
        with contextlib.suppress(PowerLoss):
            shelve(Shelf(ledger.disk), ledger, 20, keep=1)
        finished = store.fuse > 0
        store.fuse = None
        if power:
            store.lose_unsynced(random.Random(fuse), rotated=True)
        shelf = Shelf(ledger.disk)
        (kept,) = shelf.kept
        assert kept.height in (10, 20)
        items = {key: value for chunk in shelf.chunks(kept.height) for key, value in chunk.items}
        assert items == dict(ledger.state(kept.block).items())
        while shelf.sweep():
            pass
        assert {int.from_bytes(key[1:9], "big") for key, _ in rows(store, b"P")} == {kept.height}
        if finished:
            return
        fuse += 1


def test_a_snapshot_waits_for_a_proof_above_it() -> None:
    ledger = open_ledger(GENESIS)
    blocks = extend(ledger, 30)
    ledger.finalize(blocks[19 + LAG - 3].id, Proof("test", b""))
    assert ledger.describe(20) is None, "what its children must name is not shown yet"
    ledger.finalize(blocks[19 + LAG].id, Proof("test", b"late"))
    found = ledger.describe(20)
    assert found is not None and found.top.height == 20 + LAG
    assert found.proof == Proof("test", b"late")


# --------------------------------------------------------------------------------------- the form


def replaced(snapshot: Snapshot, **fields: object) -> Snapshot:
    return msgspec.structs.replace(snapshot, **fields)


def test_a_snapshot_that_is_not_whole_is_refused() -> None:
    snapshot, _, source = snapshot_at()
    heads = snapshot.heads
    other = msgspec.structs.replace(
        heads[3], manifest=msgspec.structs.replace(heads[3].manifest, reward=7)
    )
    lies = {
        "snapshot-format": replaced(snapshot, format=2),
        "snapshot-foreign": replaced(snapshot, chain_id=sha256d(b"x")),
        "snapshot-sets": replaced(snapshot, sets=()),
    }
    wrong_heads = [
        replaced(snapshot, heads=heads[:-1]),
        replaced(snapshot, heads=heads[8:]),
        replaced(snapshot, heads=(*heads[:5], *heads[6:])),
        replaced(snapshot, heads=(*heads[:3], other, *heads[4:])),
        replaced(snapshot, height=0),
        replaced(snapshot, height=heads[-1].height),
        replaced(snapshot, height=heads[0].height),
        replaced(snapshot, height=10**9),
    ]
    for code, lie in [*lies.items(), *(("snapshot-heads", lie) for lie in wrong_heads)]:
        with pytest.raises(InvalidProof) as raised:
            lie.check_form(source.chain_id, LAG)
        assert raised.value.code == code
