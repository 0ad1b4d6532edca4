"""The ledger's daily work: growing, moving the head, finalizing, reading."""

from __future__ import annotations

from chain.execution import total_supply
from chain.genesis import COIN
from chain.state.accounts import get_supply
from tests.support.chains import FEE, address, extend, grow, open_ledger, transfer


def test_a_transfer_moves_coins_and_the_fee() -> None:
    ledger = open_ledger()
    payment = transfer(ledger.chain_id, 0, 1, 5 * COIN, 0)
    block = grow(ledger, ledger.head(), [payment])
    moved = ledger.set_head(block.id)
    assert moved.added == (block,) and moved.removed == ()
    assert ledger.account(address(0)).balance == 995 * COIN - FEE
    assert ledger.account(address(0)).nonce == 1
    assert ledger.account(address(1)).balance == 1_005 * COIN
    assert ledger.account(address(1_000)).balance == FEE
    assert total_supply(ledger.state()) == get_supply(ledger.state()) == 4_000 * COIN


def test_reading_is_the_same_above_and_below_the_base() -> None:
    ledger = open_ledger(flush_blocks=4)
    payment = transfer(ledger.chain_id, 0, 1, 5 * COIN, 0)
    block = grow(ledger, ledger.head(), [payment])
    ledger.set_head(block.id)
    before = (
        ledger.transaction(payment.id),
        ledger.history(address(0)),
        ledger.history(address(1_000)),
        ledger.address_stats(address(0)),
        ledger.receipts(block.id),
        ledger.block(block.id),
    )
    assert before[0] is not None and before[0].height == 1
    assert [located.position for located in before[1]] == [0, -1]
    assert [located.position for located in before[2]] == [-1]
    last = extend(ledger, 5)[-1]
    assert len(ledger.finalize(last.id, None)) == 6
    assert ledger.counts()["blocks"] == 1
    after = (
        ledger.transaction(payment.id),
        ledger.history(address(0)),
        ledger.history(address(1_000)),
        ledger.address_stats(address(0)),
        ledger.receipts(block.id),
        ledger.block(block.id),
    )
    assert before == after


def test_a_short_reorganisation() -> None:
    ledger = open_ledger(finalizes=False)
    first = grow(ledger, ledger.head(), [transfer(ledger.chain_id, 0, 1, COIN, 0)])
    other = grow(ledger, ledger.head(), [transfer(ledger.chain_id, 0, 2, COIN, 0)], weight=2)
    ledger.set_head(first.id)
    moved = ledger.set_head(other.id)
    assert moved.removed == (first,) and moved.added == (other,)
    assert ledger.transaction(first.transactions[0].id) is None
    assert ledger.account(address(2)).balance == 1_001 * COIN
    assert ledger.account(address(1)).balance == 1_000 * COIN
