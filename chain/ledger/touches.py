"""Which addresses a block touches, and how: the source of history and statistics.

The same function serves blocks in memory, blocks being flushed and blocks being unwound, so that
what was added is exactly what is taken away.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from chain.address import Address
from chain.block import Block
from chain.ledger.disk import NO_STATS, AddressStats, ResultRow

REWARD_POSITION: Final = -1
"""Stands for the manifest (the coinbase, to Bitcoin's tools) among the positions of a block."""


class Touch(NamedTuple):
    """One address at one position: credits (funded) and debits (spent), counts and base units."""

    address: Address
    position: int
    funded_count: int
    funded_sum: int
    spent_count: int
    spent_sum: int


def touches(block: Block, result: ResultRow) -> list[Touch]:
    """In order of position, each address once a position."""
    found: list[Touch] = []
    if result.credits:
        sums: dict[Address, tuple[int, int]] = {}
        for credit in result.credits:
            count, total = sums.get(credit.recipient, (0, 0))
            sums[credit.recipient] = (count + 1, total + credit.amount)
        for address, (count, total) in sums.items():
            found.append(Touch(address, REWARD_POSITION, count, total, 0, 0))
    pairs = zip(block.transactions, result.receipts, strict=True)
    for position, (transaction, receipt) in enumerate(pairs):
        spent = receipt.fee
        received: dict[Address, tuple[int, int]] = {transaction.sender: (0, 0)}
        for action, outcome in zip(transaction.actions, receipt.results, strict=True):
            if outcome.ok:
                spent += action.amount
                count, total = received.get(action.recipient, (0, 0))
                received[action.recipient] = (count + 1, total + action.amount)
        for address, (count, total) in received.items():
            if address == transaction.sender:
                found.append(Touch(address, position, count, total, 1, spent))
            else:
                found.append(Touch(address, position, count, total, 0, 0))
    return found


def add_stats(totals: dict[Address, AddressStats], found: list[Touch], sign: int = 1) -> None:
    """Adds (or, with ``sign`` -1, takes away) what the touches count to ``totals``."""
    sums: dict[Address, list[int]] = {}
    for address, _, funded_count, funded_sum, spent_count, spent_sum in found:
        five = sums.get(address)
        if five is None:
            sums[address] = [1, funded_count, funded_sum, spent_count, spent_sum]
        else:
            five[0] += 1
            five[1] += funded_count
            five[2] += funded_sum
            five[3] += spent_count
            five[4] += spent_sum
    for address, five in sums.items():
        totals[address] = totals.get(address, NO_STATS).plus(AddressStats(*five), sign)
