"""One sender's transactions: a lane ordered by nonce."""

from __future__ import annotations

from typing import Protocol

from chain.address import Address
from chain.mempool.policy import cost_of, fee_rate
from chain.transaction import Transaction


class AccountState(Protocol):
    """What the mempool needs of an account."""

    @property
    def nonce(self) -> int: ...

    @property
    def balance(self) -> int: ...


class AccountReader(Protocol):
    """Accounts as of the head; the ledger is one."""

    def account(self, address: Address, /) -> AccountState: ...


class ReadOnce:
    """Accounts for the length of one call, in which they do not change: each is read once."""

    def __init__(self, accounts: AccountReader) -> None:
        self._accounts = accounts
        self._known: dict[Address, AccountState] = {}

    def account(self, address: Address, /) -> AccountState:
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = self._accounts.account(address)
        return known


class Entry:
    """One waiting transaction, and its standing.

    ``executable``: all nonces before it are here and the balance covers them and it.
    ``cumulative``: cost of the contiguous run of its lane up to and with it (base units).
    ``floor``: the lowest rate from the lane's first up to it; no block gets at it for more.
    """

    __slots__ = (
        "arrived_ms",
        "cost",
        "cumulative",
        "executable",
        "floor",
        "nonce",
        "rate",
        "sequence",
        "size",
        "transaction",
    )

    def __init__(self, transaction: Transaction, arrived_ms: int, sequence: int) -> None:
        self.transaction = transaction
        self.nonce = transaction.nonce
        self.size = transaction.size
        self.rate = fee_rate(transaction.fee, self.size)
        self.cost = cost_of(transaction)
        self.arrived_ms = arrived_ms
        self.sequence = sequence
        self.executable = False
        self.cumulative = 0
        self.floor = self.rate


class Lane:
    """A sender's entries by nonce, over the account as it was last read.

    ``nonce`` and ``balance`` are the account's; ``next`` is the first nonce that is missing;
    entries in ``nonce <= n < end`` are executable; ``top`` is the highest nonce held.
    """

    __slots__ = ("address", "balance", "end", "entries", "next", "nonce", "size", "top")

    def __init__(self, address: Address, account: AccountState) -> None:
        self.address = address
        self.nonce = self.next = self.end = account.nonce
        self.balance = account.balance
        self.entries: dict[int, Entry] = {}
        self.size = 0
        self.top = -1

    @property
    def pending(self) -> int:
        """How many are executable now."""
        return self.end - self.nonce

    def head(self) -> Entry | None:
        """The next that a block could take."""
        return self.entries[self.nonce] if self.end > self.nonce else None

    def ordered(self) -> list[Entry]:
        """All, lowest nonce first."""
        return [self.entries[nonce] for nonce in sorted(self.entries)]

    def cost_below(self, nonce: int) -> int:
        """Cost of all that this lane holds below ``nonce``."""
        contiguous = min(nonce, self.next)
        cost = self.entries[contiguous - 1].cumulative if contiguous > self.nonce else 0
        for number in range(contiguous, nonce):
            entry = self.entries.get(number)
            if entry is not None:
                cost += entry.cost
        return cost

    def standing(self, nonce: int, rate: int) -> tuple[bool, int]:
        """(executable, floor) that an affordable entry of ``rate`` would have at ``nonce``."""
        if nonce > self.end:
            return False, rate
        if nonce == self.nonce:
            return True, rate
        return True, min(rate, self.entries[nonce - 1].floor)

    def put(self, entry: Entry) -> None:
        """Takes an entry in, in the place of one with its nonce if there is one."""
        nonce = entry.nonce
        rival = self.entries.get(nonce)
        self.entries[nonce] = entry
        self.size += entry.size - (rival.size if rival is not None else 0)
        if nonce > self.top:
            self.top = nonce
        self.walk(nonce)

    def discard(self, entry: Entry) -> None:
        """Takes an entry out; the caller walks."""
        nonce = entry.nonce
        del self.entries[nonce]
        self.size -= entry.size
        if nonce == self.top:
            while nonce not in self.entries and nonce >= self.nonce:
                nonce -= 1
            # A base that moved up may have left only entries below it, soon to be discarded.
            self.top = nonce if nonce in self.entries else max(self.entries, default=-1)

    def walk(self, start: int) -> None:
        """Sets the standing of what comes at and after nonce ``start``, where something changed."""
        if start > self.next:
            return  # behind a gap: nothing contiguous changes, and a new entry stands as made
        entries, balance, nonce, end_before = self.entries, self.balance, start, self.end
        cumulative, floor, executable = 0, -1, True
        if start > self.nonce:
            before = entries[start - 1]
            cumulative, floor, executable = before.cumulative, before.floor, before.executable
        end = min(start, self.end)
        entry = entries.get(nonce)
        while entry is not None:
            cumulative += entry.cost
            entry.cumulative = cumulative
            executable = executable and cumulative <= balance
            entry.executable = executable
            if executable:
                floor = entry.rate if floor < 0 else min(floor, entry.rate)
                entry.floor = floor
                end = nonce + 1
            else:
                entry.floor = entry.rate
            nonce += 1
            entry = entries.get(nonce)
        self.next, self.end = nonce, end
        for number in range(nonce, end_before):
            stranded = entries.get(number)
            if stranded is not None:
                stranded.executable = False
                stranded.floor = stranded.rate

    def rebase(self, account: AccountState) -> list[Entry]:
        """Takes a new account state; returns the entries that it rules out, removed.

        Ruled out is what has a used nonce, and what costs more than the whole balance.
        """
        ruled_out = [
            self.entries[nonce]
            for nonce in sorted(self.entries)
            if nonce < account.nonce or self.entries[nonce].cost > account.balance
        ]
        end_before = self.end
        self.nonce, self.balance = account.nonce, account.balance
        for entry in ruled_out:
            self.discard(entry)
        self.next = self.end = self.nonce
        self.walk(self.nonce)
        for number in range(self.next, end_before):
            stranded = self.entries.get(number)
            if stranded is not None:
                stranded.executable = False
                stranded.floor = stranded.rate
        return ruled_out
