"""Mistakes to plant, so that a checker has something to find."""

from __future__ import annotations

import pytest

from chain.execution import BlockExecution, Receipt
from chain.transaction import Transaction


def plant_coins_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each payment makes one unit of nothing: all nodes agree on the roots, and all are wrong."""
    right = BlockExecution._apply_one

    def wrong(self: BlockExecution, transaction: Transaction, nonce: int, balance: int) -> Receipt:
        receipt = right(self, transaction, nonce, balance)
        recipient = transaction.actions[0].recipient
        its_nonce, its_balance = self._accounts[recipient]
        self._accounts[recipient] = (its_nonce, its_balance + 1)
        return receipt

    monkeypatch.setattr(BlockExecution, "_apply_one", wrong)
