"""Execution: what a block's transactions and its engine's claims do to the state.

One function of (parent state, block) to (state, receipts), the same on every node: no clock, no
randomness, integers only. Amounts move; they are made only by the engine's Mints, and
their sum, kept under SUPPLY_KEY, never passes SUPPLY_MAX (CVE-2010-5139 is why that is checked).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from chain import codec
from chain.address import KEY, POLICY, Address
from chain.changes import LeaveJoint, Mint, StateChange
from chain.codec import Record, Uint
from chain.errors import InvalidBlock, InvalidTransaction
from chain.genesis import SUPPLY_MAX, Limits
from chain.membership import MembershipBook, MembershipRules
from chain.state.accounts import (
    ACCOUNT_PREFIX,
    MATURING_PREFIX,
    SUPPLY_KEY,
    Account,
    Maturing,
    account_key,
    encode_account,
    encode_maturing,
    encode_supply,
    get_maturing,
    get_supply,
    maturing_key,
)
from chain.state.tree import StateTree
from chain.transaction import ATOMIC, ChainId, MembershipVote, Transaction, Transfer

KILOBYTE: Final = 1_000
"""Bytes in the kilobyte of ``fee_per_kilobyte_min``, as in Bitcoin's fee rates."""


class ActionResult(Record, frozen=True):
    """What became of one action. ``code`` is empty where it was done, else why it was not."""

    ok: bool
    code: str = ""


class Receipt(Record, frozen=True):
    """What became of one transaction in a block.

    ``ok``: every action was done. ``code``: that of the first action that failed. ``results``: one
    for each action; of an ATOMIC transaction that failed, the actions beside the failing one are
    "undone" or "not-tried". ``fee``: base units charged, whether or not it was ok.
    """

    ok: bool
    code: str
    results: tuple[ActionResult, ...]
    fee: Uint


class Credit(Record, frozen=True):
    """Base units that a block paid to someone: reward and fees."""

    recipient: Address
    amount: Uint


class Executed(NamedTuple):
    """The outcome of a whole block.

    ``writes`` and ``undo``: state key to the value after and before the block (None: absent).
    ``fees`` and ``reward``: base units collected and minted. ``credits``: who received them, also
    where they are not spendable yet; in the order of the changes, none of amount zero.
    """

    state: StateTree
    receipts: tuple[Receipt, ...]
    writes: dict[bytes, bytes | None]
    undo: dict[bytes, bytes | None]
    fees: int
    reward: int
    credits: tuple[Credit, ...]


_KINDS: Final = (KEY, POLICY)
# Without the check for canonical form: the state's values are our own, under its root hash.
_decode_account: Final = msgspec.msgpack.Decoder(Account).decode

DONE: Final = ActionResult(True)
_UNDONE: Final = ActionResult(False, "undone")
_NOT_TRIED: Final = ActionResult(False, "not-tried")


def fee_min(size: int, limits: Limits) -> int:
    """The least fee, in base units, of a transaction of ``size`` bytes; rounded up."""
    return -(-size * limits.fee_per_kilobyte_min // KILOBYTE)


def check_transaction(transaction: Transaction, limits: Limits, height: int) -> None:
    """What can be judged without the state. ``height`` is that of the block to include it.

    Raises InvalidTransaction: "bad-sender-kind", "too-large", "expired", "fee-below-minimum".
    """
    if transaction.sender[0] != KEY:
        raise InvalidTransaction("bad-sender-kind", "only an address that is a key can send")
    size = transaction.size
    if size > limits.transaction_size_max:
        raise InvalidTransaction(
            "too-large", f"{size} bytes where at most {limits.transaction_size_max} may be"
        )
    if 0 < transaction.expiry < height:
        raise InvalidTransaction(
            "expired", f"it expired after height {transaction.expiry}; this block is {height}"
        )
    least = fee_min(size, limits)
    if transaction.fee < least:
        raise InvalidTransaction(
            "fee-below-minimum",
            f"{size} bytes cost at least {least} base units, not {transaction.fee}",
        )


class BlockExecution:
    """One block being made or checked, on top of a parent's state.

    Credits that mature at ``height`` are paid at once, so that the block may spend them.
    """

    def __init__(
        self,
        parent: StateTree,
        *,
        chain_id: ChainId,
        limits: Limits,
        height: int,
        time_ms: int,
        producer: Address,
        membership: MembershipRules,
    ) -> None:
        self.chain_id, self.limits, self._membership_rules = chain_id, limits, membership
        self.height, self.time_ms, self.producer = height, time_ms, producer
        self.fees = 0
        """Base units collected so far."""
        self._parent = parent
        # Address to (nonce, balance): as the parent left it, and as it is now.
        self._before: dict[Address, tuple[int, int]] = {}
        self._accounts: dict[Address, tuple[int, int]] = {}
        self._receipts: list[Receipt] = []
        self._done: dict[int, Receipt] = {}  # by fee: most transactions share theirs
        self._membership: MembershipBook | None = None  # made by the first vote
        self._finished = False
        for matured in get_maturing(parent, height):
            self._pay(matured.recipient, matured.amount)

    def account(self, address: Address) -> Account:
        """The account as the transactions applied so far leave it."""
        return Account(*self._read(address))

    def apply(self, transaction: Transaction) -> Receipt:
        """Includes one transaction; its signature is the caller's to check.

        Raises InvalidTransaction, and changes nothing, where it may not be in this block: the
        codes of ``check_transaction``, "wrong-nonce-low", "wrong-nonce-high" and
        "insufficient-balance" (it cannot pay its fee). Otherwise the fee is charged, and what
        fails after that is told in the receipt: "insufficient-funds", "zero-amount",
        "unknown-recipient-kind", or for a membership vote a code of chain.membership.
        """
        assert not self._finished, "the block is finished"
        check_transaction(transaction, self.limits, self.height)
        sender, fee = transaction.sender, transaction.fee
        nonce, balance = self._read(sender)
        if transaction.nonce != nonce:
            raise _wrong_nonce(transaction.nonce, nonce)
        if balance < fee:
            raise InvalidTransaction(
                "insufficient-balance", f"a balance of {balance} cannot pay the fee of {fee}"
            )
        actions = transaction.actions
        if len(actions) == 1 and isinstance(actions[0], Transfer):
            receipt = self._apply_one(transaction, nonce, balance - fee)
        else:
            receipt = self._apply_many(transaction, nonce, balance - fee)
        self.fees += fee
        self._receipts.append(receipt)
        return receipt

    def finish(self, changes: tuple[StateChange, ...]) -> Executed:
        """Applies the engine's changes and closes the block.

        The fees go on top of the first mint; without one, to the producer. What matures at or
        below this height is paid at once, the rest waits under its height. Raises InvalidBlock:
        "supply-overflow" where more would be minted than may ever exist, "not-joint" where the
        engine leaves a joint configuration that the state is not in.
        """
        assert not self._finished, "the block is finished"
        self._finished = True
        mints = tuple(change for change in changes if isinstance(change, Mint))
        reward = sum(mint.amount for mint in mints)
        supply = get_supply(self._parent)
        if supply + reward > SUPPLY_MAX:
            raise InvalidBlock("supply-overflow", "the block mints more than may ever exist")
        writes: dict[bytes, bytes | None] = {}
        undo: dict[bytes, bytes | None] = {}
        matured = maturing_key(self.height)
        undone = self._parent.get(matured)
        if undone is not None:
            writes[matured], undo[matured] = None, undone
        if reward:
            writes[SUPPLY_KEY] = encode_supply(supply + reward)
            undo[SUPPLY_KEY] = encode_supply(supply)
        for change in changes:
            if isinstance(change, LeaveJoint):
                self._members().leave_joint()
        if self._membership is not None:
            for state_key, old, new in self._membership.changes():
                writes[state_key], undo[state_key] = new, old
        credits = self._credit(mints, writes, undo)
        before = self._before
        for address, (nonce, balance) in self._accounts.items():
            if before[address] != (nonce, balance):
                key = account_key(address)
                writes[key] = encode_account(Account(nonce, balance))
                undo[key] = encode_account(Account(*before[address]))
        state = self._parent.update(writes)
        receipts = tuple(self._receipts)
        return Executed(state, receipts, writes, undo, self.fees, reward, credits)

    def _apply_one(self, transaction: Transaction, nonce: int, balance: int) -> Receipt:
        """The common case, a single transfer, without the book-keeping of several."""
        action, sender, fee = transaction.actions[0], transaction.sender, transaction.fee
        assert isinstance(action, Transfer)
        code = _refusal(action, balance)
        if code:
            self._accounts[sender] = (nonce + 1, balance)
            return Receipt(False, code, (ActionResult(False, code),), fee)
        recipient = action.recipient
        if recipient != sender:
            balance -= action.amount
            nonce_there, received = self._read(recipient)
            self._accounts[recipient] = (nonce_there, received + action.amount)
        self._accounts[sender] = (nonce + 1, balance)
        receipt = self._done.get(fee)
        if receipt is None:
            receipt = self._done[fee] = Receipt(True, "", (DONE,), fee)
        return receipt

    def _apply_many(self, transaction: Transaction, nonce: int, balance: int) -> Receipt:
        sender = transaction.sender
        balances = {sender: balance}
        members = self._membership
        if members is not None:
            self._membership = members.copy()
        code, results = self._perform(transaction, balances)
        if code and transaction.mode == ATOMIC:
            balances, self._membership = {sender: balance}, members
        for address, amount in balances.items():
            self._accounts[address] = (self._read(address)[0], amount)
        self._accounts[sender] = (nonce + 1, balances[sender])
        return Receipt(not code, code, results, transaction.fee)

    def _perform(
        self, transaction: Transaction, balances: dict[Address, int]
    ) -> tuple[str, tuple[ActionResult, ...]]:
        """Does the actions on ``balances``; the first failing code, and a result for each."""
        first, results = "", []
        for action in transaction.actions:
            if isinstance(action, MembershipVote):
                code = self._members().cast(transaction.sender, action)
            else:
                code = self._transfer(transaction.sender, action, balances)
            results.append(ActionResult(False, code) if code else DONE)
            if code and not first:
                first = code
                if transaction.mode == ATOMIC:
                    done = len(results) - 1
                    left = len(transaction.actions) - len(results)
                    return code, (_UNDONE,) * done + (results[-1],) + (_NOT_TRIED,) * left
        return first, tuple(results)

    def _members(self) -> MembershipBook:
        if self._membership is None:
            self._membership = MembershipBook(self._parent, self._membership_rules, self.height)
        return self._membership

    def _transfer(self, sender: Address, action: Transfer, balances: dict[Address, int]) -> str:
        """Moves the amount inside ``balances``; the code of what forbids it, or empty."""
        recipient, amount = action.recipient, action.amount
        code = _refusal(action, balances[sender])
        if code:
            return code
        balances[sender] -= amount
        received = balances.get(recipient)
        if received is None:  # not the sender itself, and not a recipient before
            received = self._read(recipient)[1]
        balances[recipient] = received + amount
        return ""

    def _credit(
        self,
        mints: tuple[Mint, ...],
        writes: dict[bytes, bytes | None],
        undo: dict[bytes, bytes | None],
    ) -> tuple[Credit, ...]:
        """Pays mints and fees now, or puts them into the queues of their heights."""
        if not mints:
            mints = (Mint(self.producer, 0, 0),)
        credits: list[Credit] = []
        queues: dict[int, list[Maturing]] = {}
        fees = self.fees
        for mint in mints:
            credit = Credit(mint.recipient, mint.amount + fees)
            fees = 0
            if credit.amount == 0:
                continue
            credits.append(credit)
            if mint.mature_height <= self.height:
                self._pay(credit.recipient, credit.amount)
            else:
                queues.setdefault(mint.mature_height, []).append(
                    Maturing(credit.recipient, credit.amount)
                )
        for height, added in queues.items():
            key = maturing_key(height)
            waiting = get_maturing(self._parent, height)
            writes[key], undo[key] = encode_maturing((*waiting, *added)), encode_maturing(waiting)
        return tuple(credits)

    def _pay(self, address: Address, amount: int) -> None:
        nonce, balance = self._read(address)
        assert balance + amount <= SUPPLY_MAX, "no balance passes the supply"
        self._accounts[address] = (nonce, balance + amount)

    def _read(self, address: Address) -> tuple[int, int]:
        found = self._accounts.get(address)
        if found is None:
            raw = self._parent.get(account_key(address))
            if raw is None:
                found = (0, 0)
            else:
                account = _decode_account(raw)
                found = (account.nonce, account.balance)
            self._before[address] = self._accounts[address] = found
        return found


def total_supply(state: StateTree) -> int:
    """All balances and all maturing credits, counted one by one: equals the value at SUPPLY_KEY."""
    total = 0
    for key, value in state.items():
        if key.startswith(ACCOUNT_PREFIX):
            total += codec.decode(value, Account).balance
        elif key.startswith(MATURING_PREFIX):
            total += sum(credit.amount for credit in codec.decode(value, tuple[Maturing, ...]))
    return total


def _refusal(action: Transfer, balance: int) -> str:
    """The code of what forbids a transfer out of ``balance``, or empty."""
    if action.amount == 0:
        return "zero-amount"
    if action.recipient[0] not in _KINDS:
        return "unknown-recipient-kind"
    return "insufficient-funds" if balance < action.amount else ""


def _wrong_nonce(given: int, expected: int) -> InvalidTransaction:
    code = "wrong-nonce-low" if given < expected else "wrong-nonce-high"
    return InvalidTransaction(code, f"nonce {given} where {expected} comes next")
