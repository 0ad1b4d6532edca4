"""Which addresses a block touches, and how: the source of history and statistics.

The same function serves blocks in memory, blocks being flushed and blocks being unwound, so that
what was added is exactly what is taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from chain.address import Address
from chain.block import Block
from chain.ledger.disk import AddressStats, ResultRow
from chain.transaction import Transfer

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
        actions, sender = transaction.actions, transaction.sender
        first = actions[0]
        if (
            len(actions) == 1
            and receipt.ok
            and isinstance(first, Transfer)
            and first.recipient != sender
        ):
            # What the loop below does, for the one case that is most of the traffic.
            found.append(Touch(sender, position, 0, 0, 1, spent + first.amount))
            found.append(Touch(first.recipient, position, 1, first.amount, 0, 0))
            continue
        received: dict[Address, tuple[int, int]] = {sender: (0, 0)}
        for action, outcome in zip(actions, receipt.results, strict=True):
            if outcome.ok and isinstance(action, Transfer):
                spent += action.amount
                count, total = received.get(action.recipient, (0, 0))
                received[action.recipient] = (count + 1, total + action.amount)
        for address, (count, total) in received.items():
            if address == sender:
                found.append(Touch(address, position, count, total, 1, spent))
            else:
                found.append(Touch(address, position, count, total, 0, 0))
    return found


Totals = dict[Address, list[int]]
"""The five numbers of AddressStats, to be added up."""


def add_stats(
    totals: Totals,
    found: Iterable[Touch],
    before: Callable[[Address], AddressStats],
    sign: int = 1,
) -> None:
    """Adds (or, with ``sign`` -1, takes away) what the touches count.

    ``before``: what an address that is not among the ``totals`` had until then.
    """
    for address, _, funded_count, funded_sum, spent_count, spent_sum in found:
        five = totals.get(address)
        if five is None:
            five = totals[address] = list(msgspec.structs.astuple(before(address)))
        five[0] += sign
        five[1] += sign * funded_count
        five[2] += sign * funded_sum
        five[3] += sign * spent_count
        five[4] += sign * spent_sum
