"""Everything that can be seen of a ledger's best chain, for comparing two ledgers."""

from __future__ import annotations

from typing import Any

from chain.ledger import Ledger
from chain.storage.memory import MemoryStore
from tests.support.chains import address

WATCHED = (0, 1, 2, 3, 4, 1_000)
"""Numbers of the addresses whose histories are compared."""


def best_chain(ledger: Ledger) -> dict[str, Any]:
    """What REST would show: states, blocks by height, transactions, histories, statistics."""
    heights = range(ledger.height(ledger.head()) + 1)
    ids = [ledger.id_at(height) for height in heights]
    blocks = [ledger.block(block) for block in ids if block is not None]
    assert len(blocks) == len(heights) and ledger.id_at(len(heights)) is None
    leaves = [leaf for block in blocks if block is not None for leaf in block.leaves]
    return {
        "state": sorted(ledger.state().items()),
        "ids": ids,
        "weight": ledger.weight(ledger.head()),
        "receipts": [ledger.receipts(block) for block in ids if block is not None],
        "credits": [ledger.credits(block) for block in ids if block is not None],
        "places": [ledger.transaction(leaf) for leaf in leaves],
        "history": {n: ledger.history(address(n), count=10_000) for n in WATCHED},
        "stats": {n: ledger.address_stats(address(n)) for n in WATCHED},
        "confirmed": ledger.confirmed(),
    }


def rows(store: MemoryStore, prefixes: bytes) -> list[tuple[bytes, bytes]]:
    """The rows of some tables of the disk."""
    return [row for prefix in prefixes for row in store.scan(bytes([prefix]))]
