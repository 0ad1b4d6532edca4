"""Finality: it prunes, it never moves back, and it is told in one piece."""

from __future__ import annotations

import pytest

from chain.errors import InvalidBlock
from chain.proof import Proof
from chain.storage.memory import MemoryStore
from tests.chain.ledger.observe import rows
from tests.support.chains import (
    TrustingVerifier,
    extend,
    grow,
    make_block,
    make_genesis,
    open_ledger,
    transfer,
)


def test_finalizing_tells_what_became_final_lowest_first() -> None:
    ledger = open_ledger()
    blocks = extend(ledger, 5)
    assert ledger.finalize(blocks[2].id, None) == tuple(blocks[:3])
    assert ledger.finalized() == ledger.confirmed() == blocks[2].id
    assert ledger.finalize(blocks[4].id, None) == tuple(blocks[3:])


def test_finalizing_again_keeps_a_proof_and_changes_nothing() -> None:
    ledger = open_ledger()
    blocks = extend(ledger, 3)
    ledger.finalize(blocks[2].id, None)
    proof = Proof("test", b"body")
    assert ledger.finalize(blocks[1].id, proof) == ()
    assert ledger.finalize(blocks[2].id, None) == ()
    assert ledger.finalized() == blocks[2].id
    assert ledger.proof(blocks[1].id) == proof
    assert ledger.proof(blocks[2].id) is None
    ledger.put_proof(blocks[2].id, proof)
    assert ledger.proof(blocks[2].id) == proof


@pytest.mark.parametrize("flush_blocks", [1, 16])
def test_what_branches_off_below_is_pruned_from_memory_and_disk(flush_blocks: int) -> None:
    store = MemoryStore()
    ledger = open_ledger(None, store, flush_blocks=flush_blocks)
    main = extend(ledger, 3)
    low = grow(ledger, ledger.chain_id, tag=1)
    lower = grow(ledger, low.id, tag=1)
    beside = grow(ledger, main[1].id, tag=2)
    above = grow(ledger, main[2].id, tag=3)
    ledger.persist(b"r", (lower.id, beside.id, above.id))
    ledger.finalize(main[2].id, None)
    for gone in (low, lower, beside):
        assert not ledger.knows(gone.id)
        assert ledger.block(gone.id) is None and ledger.head_of(gone.id) is None
        with pytest.raises(KeyError):
            ledger.height(gone.id)
    assert ledger.knows(above.id)
    assert ledger.children(ledger.chain_id) == (main[0].id,)
    assert ledger.children(main[1].id) == (main[2].id,)
    ledger.flush()
    stored = {key[9:] for key, _ in rows(store, b"B")}
    assert stored == {ledger.chain_id, above.id, *(block.id for block in main)}
    assert {key[1:] for key, _ in rows(store, b"I")} == stored


def test_nothing_grows_beside_a_final_block() -> None:
    ledger = open_ledger()
    blocks = extend(ledger, 3)
    late = make_block(ledger, blocks[0].id, tag=5)
    ledger.finalize(blocks[1].id, None)
    with pytest.raises(InvalidBlock) as caught:
        ledger.insert(late, 1, ())
    assert caught.value.code == "conflicts-with-finalized"


def test_only_what_is_not_below_a_final_block_can_be_extended() -> None:
    ledger = open_ledger()
    blocks = extend(ledger, 3)
    ledger.finalize(blocks[1].id, None)
    assert [ledger.can_extend(block.id) for block in blocks] == [False, True, True]
    assert not ledger.can_extend(bytes(32)) and not ledger.can_extend(ledger.chain_id)
    with pytest.raises(AssertionError):
        ledger.execution(blocks[0].id, time_ms=0, producer=bytes(33))
    never_final = open_ledger(finalizes=False)
    extend(never_final, 3)
    assert never_final.can_extend(never_final.chain_id)


def test_mistakes_of_the_engine_are_assertions() -> None:
    ledger = open_ledger()
    main = extend(ledger, 2)
    side = grow(ledger, ledger.chain_id, tag=1)
    with pytest.raises(AssertionError, match="set the head first"):
        ledger.finalize(side.id, None)
    ledger.finalize(main[1].id, None)
    with pytest.raises(AssertionError):
        ledger.set_head(main[0].id)
    with pytest.raises(AssertionError):
        open_ledger(finalizes=False).finalize(ledger.chain_id, None)
    with pytest.raises(KeyError):
        ledger.set_head(side.id)


def test_the_disk_of_a_long_run_holds_the_final_state_and_memory_stays_small() -> None:
    store = MemoryStore()
    genesis = make_genesis()
    ledger = open_ledger(genesis, store, flush_blocks=4)
    for nonce in range(30):
        payment = transfer(ledger.chain_id, 0, 1, 10, nonce, signed=False)
        block = grow(ledger, ledger.head(), [payment])
        ledger.set_head(block.id)
        ledger.finalize(block.id, Proof("test", b"%d" % nonce))
        assert ledger.counts()["blocks"] <= 4
        assert ledger.counts()["transactions"] <= 8  # each with its block's manifest
    ledger.flush()
    flat = [(key[1:], value) for key, value in rows(store, b"S")]
    assert sorted(flat) == sorted(ledger.state().items())
    again = open_ledger(genesis, store, verifier=TrustingVerifier())
    assert again.head() == ledger.head() == again.finalized()
    assert list(again.replay()) == []


def test_the_flush_is_one_synced_write_and_finality_between_is_small() -> None:
    store = MemoryStore()
    ledger = open_ledger(None, store, flush_blocks=3)
    writes: list[tuple[int, bool]] = []
    write = store.write

    def counting(changes: list[tuple[bytes, bytes | None]], sync: bool) -> None:
        writes.append((len(changes), sync))
        write(changes, sync)

    store.write = counting  # type: ignore[method-assign, assignment]
    blocks = extend(ledger, 3)
    writes.clear()
    ledger.finalize(blocks[0].id, Proof("test", b""))
    assert writes == [(2, False)]
    ledger.finalize(blocks[2].id, None)
    assert len(writes) == 2 and writes[1][1]
