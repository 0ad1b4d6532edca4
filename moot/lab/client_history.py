"""The history of a run's clients: payments and account reads, and whether they are linearizable.

A payment begins when a client first says it, and is answered when the client is told that it is
final. However often a client repeats a payment, and to whomever, it is one operation: that it takes
effect once is part of what is checked. A read, too, is one operation however often it is asked.

Whoever pays a user belongs to the history, liars too: their payments are operations that nobody
was answered, which may take effect or not. Left out, each would make a true balance look invented.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from chain.address import Address
from chain.block import Block
from chain.genesis import Genesis
from chain.hashing import TxId
from chain.ledger import Ledger
from chain.transaction import Transaction, Transfer
from moot.lab.history import Operation, Pay, ReadAccount, Recorder
from moot.lab.linearizability import Budget, Verdict, check, check_each_account
from moot.lab.models import AccountsModel
from moot.lab.node import SimulatedNode
from moot.lab.witness import Misfit, check_order

STEPS_MAX: Final = 100_000
"""Placements that judging one run may try, once with the accounts apart and once together: about
a second in the worst case, and none where the ledger's own order fits."""


class ClientHistory:
    """A listener of moot.lab.clients; ``names``: what the history calls each account."""

    def __init__(self, clock: Callable[[], int], names: Mapping[Address, str]) -> None:
        self.recorder = Recorder(clock)
        self._names = names
        self._payments: dict[TxId, int] = {}
        self._signed: Counter[str] = Counter()
        """How many transactions each nonce was signed for: a double spender signs several."""
        self._reads = 0

    # -------------------------------------------------------------------- clients.Listener

    def submitted(self, transaction: Transaction, node: SimulatedNode, at_ms: int) -> None:
        """A client says a payment, for the first time or again."""
        if transaction.id in self._payments or self.recorder.full:
            return
        (action,) = transaction.actions
        assert isinstance(action, Transfer)
        call = Pay(
            self._names[transaction.sender],
            transaction.nonce,
            self._names[action.recipient],
            action.amount,
            transaction.fee,
        )
        client = f"{call.sender}/{call.nonce}"
        self._signed[client] += 1
        if self._signed[client] > 1:  # each waits for an answer of its own
            client = f"{client} ({self._signed[client]})"
        number = self.recorder.invoke(client, call)
        self._payments[transaction.id] = number

    def acknowledged(self, transaction: Transaction, height: int, code: str, at_ms: int) -> None:
        """A client is told that its payment is final, and (``code``) what came of it."""
        number = self._payments.get(transaction.id)
        if number is not None:
            self.recorder.answer(number, code)

    # ----------------------------------------------------------------------------- reading

    def begin_read(self, address: Address) -> int | None:
        """A client asks for an account; None: the history is full."""
        if self.recorder.full:
            return None
        self._reads += 1
        return self.recorder.invoke(f"reader {self._reads}", ReadAccount(self._names[address]))

    def end_read(self, number: int, address: Address, ledger: Ledger) -> None:
        """It is answered from the confirmed state of ``ledger``."""
        account = ledger.account(address, ledger.confirmed())
        self.recorder.answer(number, (account.nonce, account.balance))

    # ---------------------------------------------------------------------------- the check

    def operations(self) -> tuple[Operation, ...]:
        return self.recorder.operations()

    def order_in(self, blocks: Iterable[Block]) -> list[int]:
        """The payments' numbers as the chain of ``blocks``, in order of height, applied them."""
        return [
            self._payments[transaction.id]
            for block in blocks
            for transaction in block.transactions
            if transaction.id in self._payments
        ]

    def check(
        self, genesis: Genesis, blocks: Iterable[Block], budget: Budget | None = None
    ) -> tuple[Verdict, Misfit | None]:
        """First against the chain's own order; where that does not fit, against any other."""
        initial = {
            self._names[allocation.address]: (0, allocation.amount)
            for allocation in genesis.allocations
            if allocation.address in self._names
        }
        return judge(self.operations(), self.order_in(blocks), initial, budget)


def judge(
    operations: Sequence[Operation],
    order: Sequence[int],
    initial: Mapping[str, tuple[int, int]],
    budget: Budget | None = None,
) -> tuple[Verdict, Misfit | None]:
    """The verdict on payments and reads, and what does not fit into the ledger's order.

    Three questions, each dearer than the one before: does the ledger's order fit; is each account
    by itself linearizable (``budget``); are all accounts together (what is left of it)? A misfit
    with the verdict "linearizable" means that the clients cannot have noticed anything.
    """
    model = AccountsModel(initial)
    misfit = check_order(operations, order, model)
    if misfit is None:
        return Verdict("linearizable", orders=(tuple(order),)), None
    budget = budget or Budget(steps=STEPS_MAX)
    alone = Budget(steps=budget.steps, configurations=budget.configurations)
    apart = check_each_account(operations, initial, alone)
    if apart.outcome == "violated":
        return apart, misfit
    return check(operations, model, budget), misfit
