"""Opening: a fresh database, our own, another chain's, a damaged one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.errors import DamagedStore, ForeignStore
from chain.execution import Credit
from chain.genesis import COIN
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.proof import Proof
from chain.storage.leveldb import open_leveldb
from chain.storage.memory import MemoryStore
from tests.chain.ledger.observe import best_chain
from tests.support.chains import address, extend, grow, make_genesis, open_ledger, transfer

GENESIS = make_genesis(validators=2)


def fill(ledger: Ledger, count: int) -> None:
    first = ledger.account(address(0)).nonce
    for nonce in range(first, first + count):
        payment = transfer(ledger.chain_id, 0, 1, 10 + nonce, nonce, signed=False)
        block = grow(ledger, ledger.head(), [payment])
        ledger.set_head(block.id)


def test_a_fresh_database_begins_with_genesis_on_disk() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    assert ledger.head() == ledger.finalized() == ledger.chain_id == ledger.stored_head()
    assert ledger.record() is None
    assert ledger.block(ledger.chain_id) == ledger.genesis_block
    assert ledger.receipts(ledger.chain_id) == ()
    assert ledger.credits(ledger.chain_id) == tuple(
        Credit(address(number), 1_000 * COIN) for number in range(4)
    )
    store.lose_unsynced()
    assert open_ledger(GENESIS, store).chain_id == ledger.chain_id


@pytest.mark.parametrize("finalizes", [False, True])
def test_leveldb_is_reopened_as_it_was(tmp_path: Path, finalizes: bool) -> None:
    store = open_leveldb(tmp_path / "db", create=True)
    ledger = open_ledger(GENESIS, store, finalizes=finalizes, flush_depth=5, flush_blocks=4)
    fill(ledger, 20)
    if finalizes:
        ledger.finalize(ledger.ancestor(ledger.head(), 13), Proof("test", b"13"))
        ledger.persist(b"vote", (ledger.head(),))
    else:
        ledger.persist(b"vote", ())
    seen = best_chain(ledger)
    proof_of = ledger.ancestor(ledger.head(), 13)
    store.close()
    store = open_leveldb(tmp_path / "db", create=False)
    again = open_ledger(GENESIS, store, finalizes=finalizes, flush_depth=5, flush_blocks=4)
    for block in again.replay():
        again.insert(block, 1, (), replaying=True)
    again.set_head(again.stored_head())
    assert best_chain(again) == seen
    assert again.record() == b"vote"
    if finalizes:
        assert again.height(again.finalized()) == 13
        assert again.proof(proof_of) == Proof("test", b"13")
    fill(again, 3)
    store.close()


def test_another_chains_database_is_refused() -> None:
    store = MemoryStore()
    open_ledger(GENESIS, store)
    with pytest.raises(ForeignStore, match="another chain"):
        open_ledger(make_genesis(validators=2, name="another"), store)


def test_a_database_of_something_else_is_refused() -> None:
    store = MemoryStore()
    store.write([(b"hello", b"world")], sync=True)
    with pytest.raises(ForeignStore, match="none of a chain"):
        open_ledger(GENESIS, store)


def flushed() -> tuple[MemoryStore, Ledger]:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store)
    fill(ledger, 4)
    ledger.finalize(ledger.head(), None)
    ledger.flush()
    return store, ledger


def test_a_damaged_state_is_noticed_at_the_start() -> None:
    store, _ = flushed()
    key, value = next(iter(store.scan(b"Sa")))
    store.write([(key, value[:-1] + bytes([value[-1] ^ 1]))], sync=True)
    with pytest.raises(DamagedStore, match="state-root"):
        open_ledger(GENESIS, store)
    store.write([(key, None)], sync=True)
    with pytest.raises(DamagedStore, match="state-root"):
        open_ledger(GENESIS, store)


@pytest.mark.parametrize("table", [b"B", b"I", b"R"])
def test_a_missing_part_of_the_base_is_noticed_at_the_start(table: bytes) -> None:
    store, ledger = flushed()
    rest = ledger.head() if table != b"B" else (4).to_bytes(8, "big") + ledger.head()
    store.write([(table + rest, None)], sync=True)
    with pytest.raises(DamagedStore, match="missing"):
        open_ledger(GENESIS, store)


def test_a_row_that_cannot_be_read_is_damage() -> None:
    store, ledger = flushed()
    store.write([(b"I" + ledger.head(), b"\xff")], sync=True)
    with pytest.raises(DamagedStore, match="cannot be read"):
        open_ledger(GENESIS, store)


def test_a_missing_validator_set_is_damage() -> None:
    store, _ = flushed()
    store.write([(b"V" + GENESIS.validator_set.hash, None)], sync=True)
    ledger = open_ledger(GENESIS, store)
    with pytest.raises(DamagedStore, match="validator set"):
        ledger.validators(ledger.head())


def test_side_branches_survive_a_restart_without_finality() -> None:
    store = MemoryStore()
    ledger = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    side: list[BlockId] = [grow(ledger, ledger.chain_id, tag=1).id]
    extend(ledger, 8)
    side.append(grow(ledger, side[0], tag=1).id)
    again = open_ledger(GENESIS, store, finalizes=False, flush_depth=2, flush_blocks=1)
    for block in again.replay():
        again.insert(block, 1, (), replaying=True)
    assert all(again.knows(block) for block in side)
    assert again.children(side[0]) == (side[1],)
    third = grow(again, side[1], tag=1)
    again.set_head(third.id)
    assert again.id_at(1) == side[0] and again.id_at(4) is None
