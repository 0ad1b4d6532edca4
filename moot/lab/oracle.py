"""Naive oracles: the same answers as the node's, by the most obvious way to them.

They are slow and short, and share nothing with what they judge but the data's types: fork choice
walks every branch to its root; the ledger is a dictionary of balances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chain.address import KEY, POLICY, Address
from chain.block import Block, BlockHead
from chain.changes import Mint, StateChange
from chain.errors import InvalidBlock
from chain.execution import total_supply
from chain.genesis import Genesis
from chain.hashing import BlockId, show_id
from chain.ledger import Ledger
from chain.membership import MembershipRules
from chain.signatures import Verifier
from chain.state.accounts import get_account, get_supply
from chain.storage.memory import MemoryStore
from chain.transaction import ATOMIC, Transaction, Transfer
from moot.lab.oracle_members import NaiveMembers, as_naive
from moot.node.eras import EraBook


class Disagreement(msgspec.Struct, frozen=True):
    """Where the node and the oracle differ. ``height``: of the block."""

    height: int
    sentence: str


# --------------------------------------------------------------------------------- fork choice


def heaviest(heads: Iterable[BlockHead], genesis: BlockId) -> BlockId:
    """The tip with the most work behind it; of equal ones the first in ``heads``.

    ``heads``: in order of arrival, each after its parent. A block's work is what its bits say.
    """
    known: dict[BlockId, BlockHead] = {}
    best, most = genesis, 0
    for head in heads:
        known[head.id] = head
        total, block = 0, head.id
        while block != genesis:
            total += work_of(known[block].header.bits)
            block = known[block].previous
        if total > most:
            best, most = head.id, total
    return best


def work_of(bits: int) -> int:
    """Expected hashes for a block of compact target ``bits`` (Bitcoin's nBits, no sign)."""
    exponent, mantissa = bits >> 24, bits & 0x007F_FFFF
    target: int = mantissa * 256**exponent // 256**3
    work: int = 2**256 // (target + 1)
    return work


def decided_head(finalized: Iterable[BlockHead], genesis: BlockId) -> BlockId:
    """Where what is decided is final at once: the last of the finalized blocks, one on another.

    Raises ValueError where they are not one chain.
    """
    last = genesis
    for head in finalized:
        if head.previous != last:
            raise ValueError(f"{show_id(head.id)} is not a child of {show_id(last)}")
        last = head.id
    return last


# -------------------------------------------------------------------------------------- ledger


class NaiveReceipt(msgspec.Struct, frozen=True):
    """``code``: why the first failing action failed; "": all went well."""

    code: str
    fee: int


class NaiveLedger:
    """Balances and nonces in dictionaries. Blocks are applied in order, and taken to be valid."""

    def __init__(self, genesis: Genesis, membership: MembershipRules) -> None:
        self.members = NaiveMembers(genesis, membership)
        self.balances: dict[Address, int] = {}
        self.nonces: dict[Address, int] = {}
        self.supply = 0
        self.height = 0
        self._maturing: dict[int, list[tuple[Address, int]]] = {}
        for allocation in genesis.allocations:
            self._give(allocation.address, allocation.amount)
            self.supply += allocation.amount

    def apply(self, block: Block, changes: Sequence[StateChange]) -> list[NaiveReceipt]:
        """Executes the next block; ``changes``: what its engine's rules pay out.

        Raises ValueError where it contains what no block may.
        """
        if block.height != self.height + 1:
            raise ValueError(f"height {block.height} does not follow {self.height}")
        self.height += 1
        for recipient, amount in self._maturing.pop(self.height, []):
            self._give(recipient, amount)
        receipts = [self._execute(transaction) for transaction in block.transactions]
        fees = sum(receipt.fee for receipt in receipts)
        self.members.close(changes)
        paid = [change for change in changes if isinstance(change, Mint)]
        if not paid:
            self._give(block.manifest.producer, fees)
        for number, change in enumerate(paid):
            self.supply += change.amount
            amount = change.amount + (fees if number == 0 else 0)
            if change.mature_height <= self.height:
                self._give(change.recipient, amount)
            else:
                later = self._maturing.setdefault(change.mature_height, [])
                later.append((change.recipient, amount))
        return receipts

    def total(self) -> int:
        """All that anyone owns, now or when it has matured."""
        waiting = [amount for each in self._maturing.values() for _, amount in each]
        return sum(self.balances.values()) + sum(waiting)

    def _execute(self, transaction: Transaction) -> NaiveReceipt:
        sender, fee = transaction.sender, transaction.fee
        if self.nonces.get(sender, 0) != transaction.nonce:
            raise ValueError(f"nonce {transaction.nonce} out of turn")
        if self.balances.get(sender, 0) < fee:
            raise ValueError("it cannot pay its fee")
        if 0 < transaction.expiry < self.height:
            raise ValueError("it has expired")
        self.nonces[sender] = transaction.nonce + 1
        self.balances[sender] -= fee
        before, members, first = dict(self.balances), self.members.kept(), ""
        for action in transaction.actions:
            if isinstance(action, Transfer):
                code = self._move(sender, action.recipient, action.amount)
            else:
                code = self.members.vote(sender, action, self.height)
            first = first or code
        if first and transaction.mode == ATOMIC:
            self.balances = before
            self.members.restore(members)
        return NaiveReceipt(first, fee)

    def _move(self, sender: Address, recipient: Address, amount: int) -> str:
        if amount == 0:
            return "zero-amount"
        if recipient[0] not in (KEY, POLICY):
            return "unknown-recipient-kind"
        if self.balances.get(sender, 0) < amount:
            return "insufficient-funds"
        self.balances[sender] -= amount
        self._give(recipient, amount)
        return ""

    def _give(self, recipient: Address, amount: int) -> None:
        self.balances[recipient] = self.balances.get(recipient, 0) + amount


def re_execute(ledger: Ledger, verifier: Verifier, height: int | None = None) -> list[Disagreement]:
    """Executes a node's confirmed chain again, from genesis, by the node's code and naively.

    ``height``: how far (None: to the confirmed block). Each block must lead to its state root, by
    production code with no memory of the first time; receipts, balances, nonces and supply must be
    the naive ledger's. Empty: all agree. It ends at the first height with a disagreement.
    """
    eras = EraBook()
    naive = NaiveLedger(ledger.genesis, eras.membership(ledger.genesis.eras[0]))
    fresh = eras.open_ledger(MemoryStore(), ledger.genesis, verifier)
    last = ledger.height(ledger.confirmed()) if height is None else height
    for at in range(1, last + 1):
        block_id = ledger.id_at(at)
        block = None if block_id is None else ledger.block(block_id)
        if block is None:
            return [Disagreement(at, "the body is missing")]
        try:
            rules = eras.rules_after(fresh, block.previous)
            changes = rules.state_changes(block.head, fresh)
            fresh.insert(block, rules.weight(block.head), changes)
            expected = naive.apply(block, changes)
        except (InvalidBlock, ValueError) as error:
            return [Disagreement(at, f"it does not execute again: {error}")]
        except KeyError:
            return [Disagreement(at, "its parent is not the block before it")]
        fresh.set_head(block.id)
        if fresh.finalizes:
            fresh.finalize(block.id, None)
        found = _compare(ledger, fresh, naive, block, expected)
        if found:
            return [Disagreement(at, sentence) for sentence in found]
    return []


def _compare(
    ledger: Ledger,
    fresh: Ledger,
    naive: NaiveLedger,
    block: Block,
    expected: list[NaiveReceipt],
) -> list[str]:
    """What differs after a block; accounts that it touched, and all of them at the tip."""
    found = []
    stored = ledger.receipts(block.id)
    told = None if stored is None else [NaiveReceipt(one.code, one.fee) for one in stored]
    if told != expected:
        found.append(f"the node's receipts are {told}, they should be {expected}")
    state = fresh.state(block.id)
    if state.root != block.manifest.state_root:
        found.append("the state's root is not the block's")
    if not get_supply(state) == total_supply(state) == naive.supply == naive.total():
        found.append(f"the supply is {get_supply(state)}, it should be {naive.supply}")
    if as_naive(fresh.validators(block.id)) != naive.members.decides(block.height + 1):
        found.append("the members who decide the next height are not those wished")
    accounts = [*_touched(block)]
    if block.id == ledger.confirmed():
        accounts = [*naive.balances]
    found += _compare_accounts(
        {address: get_account(state, address).balance for address in accounts},
        {address: naive.balances.get(address, 0) for address in accounts},
        "balance",
    )
    found += _compare_accounts(
        {address: get_account(state, address).nonce for address in accounts},
        {address: naive.nonces.get(address, 0) for address in accounts},
        "nonce",
    )
    return found


def _touched(block: Block) -> dict[Address, None]:
    addresses = {block.manifest.producer: None}
    for transaction in block.transactions:
        addresses[transaction.sender] = None
        addresses.update(dict.fromkeys(action.recipient for action in transaction.transfers))
    return addresses


def _compare_accounts(
    actual: Mapping[Address, int], expected: Mapping[Address, int], what: str
) -> list[str]:
    return [
        f"the {what} of {address.hex()} is {actual[address]}, it should be {amount}"
        for address, amount in expected.items()
        if actual[address] != amount
    ]
