"""The mempool itself: what comes in, what a block takes, what a moved head changes.

It caches the account of every sender that waits here. ``moved`` must follow each move of the head,
before anything else is asked; it reads again the accounts that the blocks touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import islice, takewhile
from typing import Final, NamedTuple, Protocol

from chain.address import Address, public_key_of
from chain.block import Block
from chain.errors import InvalidTransaction
from chain.genesis import Limits
from chain.hashing import TxId
from chain.mempool.eviction import Standing, Tails
from chain.mempool.lanes import AccountReader, Entry, Lane, ReadOnce
from chain.mempool.policy import (
    MempoolLimits,
    VerifiedSignatures,
    bad_signature,
    check_form,
    check_replacement,
    cost_of,
    fee_rate,
    mempool_full,
    nonce_low,
    recipients_of,
)
from chain.mempool.views import MempoolViews
from chain.signatures import Signed, Verifier
from chain.transaction import Transaction

MISFITS_MAX: Final = 50
"""Transactions that select tries although they do not fit, before it calls the block full."""
SIZE_LEAST: Final = 110
"""No signed transaction is smaller (sender 35 bytes, signature 67, the rest): a block with less
room than this is full."""
DEAD_MAX: Final = 1_000
"""Dead items that a lazy heap may hold besides three for each live one, before it is rebuilt."""
RECHECKED_PER_MOVE: Final = 64
"""Senders read again at each move although no block touched them (in turn), so that a cached
balance that changed in some other way (a matured reward) is right again after a while."""


class Execution(Protocol):
    """What select needs of a block being made (chain.execution.BlockExecution)."""

    def apply(self, transaction: Transaction, /) -> object:
        """Raises InvalidTransaction where it may not be in this block."""
        ...


class Moved(NamedTuple):
    """What a move of the head did: put back, dropped with the reason's code, expired."""

    returned: tuple[Transaction, ...]
    dropped: tuple[tuple[Transaction, str], ...]
    expired: tuple[Transaction, ...]


class _Place(NamedTuple):
    """Where an admissible transaction would stand, and how much must go for it."""

    lane: Lane
    rival: Entry | None
    over_size: int
    over_count: int
    standing: Standing


class Mempool(MempoolViews):
    """Transactions waiting for a block, bounded in bytes and in number, in all and by sender.

    ``verified``, where given, is asked before a signature is checked and told of each good one.
    """

    def __init__(
        self,
        limits: MempoolLimits,
        chain_id: bytes,
        chain_limits: Limits,
        verifier: Verifier,
        verified: VerifiedSignatures | None = None,
    ) -> None:
        super().__init__(chain_limits)
        self.limits = limits
        self._chain_id = chain_id
        self._verifier = verifier
        self._verified = verified
        self._sequence = 0
        self._heads: list[tuple[int, int, Entry]] = []
        self._tails = Tails()
        self._expiries: list[tuple[int, int, Entry]] = []
        self._pushed_out: list[tuple[Transaction, str]] = []
        self._suspects: dict[Address, None] = {}

    # --- coming in ---------------------------------------------------------------------------

    def add(
        self, transaction: Transaction, accounts: AccountReader, height: int, now_ms: int
    ) -> None:
        """Takes ``transaction`` in; ``height`` is the head's, ``now_ms`` any clock in ms.

        Raises InvalidTransaction with a code of this package's table.
        """
        try:
            self._screen(transaction, height, now_ms)
            place = self._place(transaction, accounts)
            self._prove(transaction)
            victims = self._room(place)
        except InvalidTransaction as error:
            self._count(error)
            raise
        self._insert(transaction, place, victims, now_ms)

    def check(
        self, transaction: Transaction, accounts: AccountReader, height: int, now_ms: int
    ) -> None:
        """A dry run: raises what ``add`` would raise, changes nothing."""
        self._screen(transaction, height, now_ms)
        place = self._place(transaction, accounts)
        self._prove(transaction)
        self._room(place)

    def add_many(
        self,
        transactions: Sequence[Transaction],
        accounts: AccountReader,
        height: int,
        now_ms: int,
    ) -> list[InvalidTransaction | None]:
        """``add`` for each, in order, with one batch of signatures; the error of each, or None.

        The cheap checks run first on each by itself, so that hopeless ones cost no signature.
        """
        accounts = ReadOnce(accounts)
        results: list[InvalidTransaction | None] = [None] * len(transactions)
        unproven: list[int] = []
        for position, transaction in enumerate(transactions):
            try:
                self._screen(transaction, height, now_ms)
                self._glance(transaction, accounts)
            except InvalidTransaction as error:
                results[position] = error
            else:
                if not self._is_verified(transaction.id):
                    unproven.append(position)
        claims = [self._claim(transactions[position]) for position in unproven]
        for position, good in zip(unproven, self._verifier.verify(claims), strict=True):
            if not good:
                results[position] = bad_signature()
            elif self._verified is not None:
                self._verified.add(transactions[position].id)
        for position, transaction in enumerate(transactions):
            if results[position] is None:
                try:
                    self._screen(transaction, height, now_ms)
                    place = self._place(transaction, accounts)
                    victims = self._room(place)
                except InvalidTransaction as error:
                    results[position] = error
                else:
                    self._insert(transaction, place, victims, now_ms)
        for result in results:
            if result is not None:
                self._count(result)
        return results

    def take_pushed_out(self) -> list[tuple[Transaction, str]]:
        """What made room for others since it was last asked, with the reason's code: "replaced"
        (by the same sender, for a higher fee) or "mempool-full"."""
        pushed_out, self._pushed_out = self._pushed_out, []
        return pushed_out

    # --- for a block -------------------------------------------------------------------------

    def select(self, execution: Execution, bytes_max: int) -> list[Transaction]:
        """Applies the best paying to ``execution`` while they fit; returns them in that order.

        Best fee rate first across senders, each sender's nonces in order; ties by arrival. What
        ``execution`` refuses is skipped with the rest of its sender, and looked at when the head
        moves; a nonce that a block above the head has used is passed over. Costs a logarithm for
        each transaction chosen, whatever waits besides.
        """
        chosen: list[Transaction] = []
        followers: list[tuple[int, int, Entry]] = []
        opened: dict[Address, tuple[int, int, Entry]] = {}
        heads, lanes = self._heads, self._lanes
        room, misfits = bytes_max, 0
        while room >= SIZE_LEAST and (followers or heads):
            if followers and not (heads and heads[0] < followers[0]):
                entry = heappop(followers)[2]
                lane = lanes[entry.transaction.sender]
            else:
                item = heappop(heads)
                entry = item[2]
                sender = entry.transaction.sender
                found = lanes.get(sender)
                if found is None or found.head() is not entry or sender in opened:
                    continue  # superseded since it was pushed
                opened[sender] = item
                lane = found
            transaction = entry.transaction
            if entry.size > room:
                misfits += 1
                if misfits == MISFITS_MAX:
                    break
                continue
            try:
                execution.apply(transaction)
            except InvalidTransaction as error:
                if error.code != "wrong-nonce-low":
                    self._suspects[transaction.sender] = None
                    continue
                # The parent is ahead of the head and holds this one already: on to the next.
            else:
                chosen.append(transaction)
                room -= entry.size
            follower = lane.entries.get(entry.nonce + 1)
            if follower is not None and follower.executable:
                heappush(followers, (-follower.rate, follower.sequence, follower))
        for item in opened.values():
            heappush(heads, item)
        return chosen

    def moved(
        self,
        removed: Sequence[Block],
        added: Sequence[Block],
        accounts: AccountReader,
        height: int,
        now_ms: int,
        credited: Iterable[Address] = (),
    ) -> Moved:
        """Follows a move of the head, from ``removed`` blocks to ``added`` ones (old to new each).

        What was included goes; what only removed blocks held comes back, its signature known to
        be good; senders that the blocks touched, as sender or recipient, are read again, and those
        in ``credited`` (addresses that got coins otherwise). ``accounts`` are the new head's.
        """
        included = {transaction.id for block in added for transaction in block.transactions}
        touched = dict.fromkeys(credited)
        touched.update(self._suspects)
        self._suspects.clear()
        for block in (*removed, *added):
            touched[block.manifest.producer] = None
            for transaction in block.transactions:
                touched[transaction.sender] = None
                touched.update(dict.fromkeys(recipients_of(transaction)))
        touched.update(dict.fromkeys(self._next_to_recheck()))
        dropped: list[tuple[Transaction, str]] = []
        for address in touched:
            lane = self._lanes.get(address)
            if lane is not None:
                for entry in self._rebase(lane, accounts):
                    if entry.transaction.id not in included:
                        used = entry.nonce < lane.nonce
                        code = "wrong-nonce-low" if used else "insufficient-balance"
                        dropped.append((entry.transaction, code))
        returned = []
        for block in removed:
            for transaction in block.transactions:
                if transaction.id in included:
                    continue
                error = self._put_back(transaction, accounts, height, now_ms, dropped)
                if error is None:
                    returned.append(transaction)
                else:
                    dropped.append((transaction, error.code))
        expired = self.expire(height, now_ms)
        self._sweep()
        # One put back may have had to go again for a later one.
        kept = tuple(transaction for transaction in returned if transaction.id in self._by_id)
        return Moved(kept, tuple(dropped), expired)

    def expire(self, height: int, now_ms: int) -> tuple[Transaction, ...]:
        """Removes, and returns, what no block above ``height`` may hold, and what is too old."""
        gone: list[Entry] = []
        while self._expiries and self._expiries[0][0] <= height:
            entry = heappop(self._expiries)[2]
            if self._holds(entry):
                self._take_out(entry)
                gone.append(entry)
        oldest_ms = now_ms - self.limits.age_ms_max
        aged = list(takewhile(lambda e: e.arrived_ms <= oldest_ms, self._by_id.values()))
        for entry in aged:
            self._take_out(entry)
        gone += aged
        return tuple(entry.transaction for entry in gone)

    # --- checks ------------------------------------------------------------------------------

    def _screen(self, transaction: Transaction, height: int, now_ms: int) -> None:
        if transaction.id in self._by_id:
            raise InvalidTransaction("already-known", "this transaction waits here already")
        check_form(transaction, height, self._chain_limits)
        minimum = self._minimum.rate(now_ms)
        if minimum and fee_rate(transaction.fee, transaction.size) < minimum:
            raise InvalidTransaction(
                "fee-below-minimum",
                f"the mempool is full: it takes {-(-minimum // 1_000)} base units per 1,000 bytes",
            )

    def _glance(self, transaction: Transaction, accounts: AccountReader) -> None:
        """Raises what holds whatever else comes in the same batch."""
        lane = self._lanes.get(transaction.sender)
        nonce = lane.nonce if lane else accounts.account(transaction.sender).nonce
        if transaction.nonce < nonce:
            raise nonce_low(transaction, nonce)
        if transaction.nonce > nonce + self.limits.sender_count_max + self.limits.gap_max:
            raise InvalidTransaction("nonce-gap-too-large", "too far above the sender's nonce")

    def _place(self, transaction: Transaction, accounts: AccountReader) -> _Place:
        sender, nonce = transaction.sender, transaction.nonce
        lane = self._lanes.get(sender)
        if lane is None:
            lane = Lane(sender, accounts.account(sender))
        if nonce < lane.nonce:
            raise nonce_low(transaction, lane.nonce)
        limits = self.limits
        if nonce > lane.next + limits.gap_max:
            raise InvalidTransaction(
                "nonce-gap-too-large",
                f"nonce {nonce} comes more than {limits.gap_max} after {lane.next}, the next one",
            )
        self._check_balance(transaction, lane, accounts)
        rival = lane.entries.get(nonce)
        size, count, before = transaction.size, 1, 0
        if rival is not None:
            check_replacement(transaction.fee, size, rival.transaction.fee, rival.size)
            count, before = 0, rival.size
        if (
            len(lane.entries) + count > limits.sender_count_max
            or lane.size + size - before > limits.sender_size_max
        ):
            raise InvalidTransaction(
                "too-many-from-sender",
                f"{len(lane.entries)} transactions ({lane.size} bytes) of this sender wait already",
            )
        place = _Place(
            lane,
            rival,
            self.size_bytes + size - before - limits.size_max,
            len(self._by_id) + count - limits.count_max,
            lane.standing(nonce, fee_rate(transaction.fee, size)),
        )
        if place.over_size > 0 or place.over_count > 0:
            worst = self._tails.worst(self._lanes)
            if worst is None or worst >= place.standing:
                raise mempool_full()
        return place

    def _room(self, place: _Place) -> list[Entry]:
        """Who must go; asked after the signature, since a large forged one could ask for many."""
        if place.over_size <= 0 and place.over_count <= 0:
            return []
        victims = self._tails.victims(
            self._lanes,
            size=place.over_size,
            count=place.over_count,
            standing=place.standing,
            sender=place.lane.address,
        )
        if victims is None:
            raise mempool_full()
        return victims

    def _check_balance(self, transaction: Transaction, lane: Lane, accounts: AccountReader) -> None:
        needed = cost_of(transaction) + lane.cost_below(transaction.nonce)
        if needed <= lane.balance:
            return
        # The cached balance may be behind a credit that no transaction made: look again.
        account = accounts.account(lane.address)
        if needed > account.balance:
            raise InvalidTransaction(
                "insufficient-balance",
                f"the balance is {account.balance}; this and what waits before it need {needed}",
            )
        if account.nonce == lane.nonce:
            self._pending -= lane.pending
            lane.balance = account.balance
            lane.walk(lane.nonce)
            self._changed(lane)

    def _prove(self, transaction: Transaction) -> None:
        if self._is_verified(transaction.id):
            return
        if not self._verifier.verify([self._claim(transaction)])[0]:
            raise bad_signature()
        if self._verified is not None:
            self._verified.add(transaction.id)

    def _is_verified(self, txid: TxId) -> bool:
        return self._verified is not None and txid in self._verified

    def _claim(self, transaction: Transaction) -> Signed:
        return Signed(
            public_key_of(transaction.sender),
            transaction.signing_bytes(self._chain_id),
            transaction.witness[0],
        )

    def _count(self, error: InvalidTransaction) -> None:
        self.rejected_total[error.code] = self.rejected_total.get(error.code, 0) + 1

    # --- bookkeeping -------------------------------------------------------------------------

    def _insert(
        self, transaction: Transaction, place: _Place, victims: list[Entry], now_ms: int
    ) -> None:
        if victims:
            self._evict(victims, now_ms)
            self._pushed_out += [(victim.transaction, "mempool-full") for victim in victims]
        lane = place.lane
        self._lanes.setdefault(lane.address, lane)
        if place.rival is not None:
            self._unlist(place.rival)
            self._pushed_out.append((place.rival.transaction, "replaced"))
        self._sequence += 1
        entry = Entry(transaction, now_ms, self._sequence)
        self._pending -= lane.pending
        lane.put(entry)
        self._by_id[transaction.id] = entry
        self.size_bytes += entry.size
        self.total_fee += transaction.fee
        for recipient in recipients_of(transaction):
            self._by_recipient.setdefault(recipient, {})[transaction.id] = entry
        if transaction.expiry:
            heappush(self._expiries, (transaction.expiry, entry.sequence, entry))
        self._changed(lane, entry)
        if (
            len(self._heads) > 4 * len(self._lanes) + DEAD_MAX
            or len(self._expiries) > 4 * len(self._by_id) + DEAD_MAX
        ):
            self._sweep()

    def _changed(self, lane: Lane, entry: Entry | None = None) -> None:
        """After a lane changed (its pending ones were taken off the count before).

        ``entry``: the only one that is new, where nothing before it changed.
        """
        self._pending += lane.pending
        if lane.end > lane.nonce and (entry is None or entry.nonce == lane.nonce):
            head = lane.entries[lane.nonce]
            heappush(self._heads, (-head.rate, head.sequence, head))
        self._tails.changed(lane)
        if not lane.entries:
            self._lanes.pop(lane.address, None)

    def _unlist(self, entry: Entry) -> None:
        """Takes an entry out of everything but its lane and the heaps, which skip it."""
        transaction = entry.transaction
        del self._by_id[transaction.id]
        self.size_bytes -= entry.size
        self.total_fee -= transaction.fee
        for recipient in recipients_of(transaction):
            credits = self._by_recipient.get(recipient)
            if credits is not None:
                credits.pop(transaction.id, None)
                if not credits:
                    del self._by_recipient[recipient]

    def _take_out(self, entry: Entry) -> None:
        lane = self._lanes[entry.transaction.sender]
        self._unlist(entry)
        self._pending -= lane.pending
        lane.discard(entry)
        lane.walk(entry.nonce)
        self._changed(lane)

    def _evict(self, victims: list[Entry], now_ms: int) -> None:
        step = fee_rate(self._chain_limits.fee_per_kilobyte_min, 1_000)
        for victim in victims:
            if victim.executable:
                self._minimum.evicted(victim.floor, step, now_ms)
            self._take_out(victim)
        self.evicted_total += len(victims)

    def _rebase(self, lane: Lane, accounts: AccountReader) -> list[Entry]:
        account = accounts.account(lane.address)
        if account.nonce == lane.nonce and account.balance == lane.balance:
            return []
        self._pending -= lane.pending
        ruled_out = lane.rebase(account)
        for entry in ruled_out:
            self._unlist(entry)
        self._changed(lane)
        return ruled_out

    def _put_back(
        self,
        transaction: Transaction,
        accounts: AccountReader,
        height: int,
        now_ms: int,
        dropped: list[tuple[Transaction, str]],
    ) -> InvalidTransaction | None:
        """Takes a removed block's transaction in again, if need be before its sender's last ones.

        The signature is known to be good, and the rolling minimum is no bar to what was in.
        """
        lane = self._lanes.get(transaction.sender)
        while lane and self._crowded(lane, transaction) and lane.top > transaction.nonce:
            last = lane.entries[lane.top]
            self._take_out(last)
            dropped.append((last.transaction, "too-many-from-sender"))
        try:
            if transaction.id in self._by_id:
                raise InvalidTransaction("already-known", "this transaction waits here already")
            check_form(transaction, height, self._chain_limits)
            place = self._place(transaction, accounts)
            victims = self._room(place)
        except InvalidTransaction as error:
            return error
        self._insert(transaction, place, victims, now_ms)
        dropped += self.take_pushed_out()
        return None

    def _crowded(self, lane: Lane, transaction: Transaction) -> bool:
        return transaction.nonce not in lane.entries and (
            len(lane.entries) >= self.limits.sender_count_max
            or lane.size + transaction.size > self.limits.sender_size_max
        )

    def _next_to_recheck(self) -> list[Address]:
        """Some senders in turn; each goes to the back of the row."""
        turn = list(islice(self._lanes, RECHECKED_PER_MOVE))
        for address in turn:
            self._lanes[address] = self._lanes.pop(address)
        return turn

    def _sweep(self) -> None:
        """Builds lazy heaps anew where most of them is dead; forgets tails when there is room."""
        if len(self._heads) > 4 * len(self._lanes) + DEAD_MAX:
            heads = [lane.head() for lane in self._lanes.values()]
            self._heads = [(-head.rate, head.sequence, head) for head in heads if head is not None]
            heapify(self._heads)
        if len(self._expiries) > 4 * len(self._by_id) + DEAD_MAX:
            self._expiries = [item for item in self._expiries if self._holds(item[2])]
            heapify(self._expiries)
        limits = self.limits
        if self.size_bytes < limits.size_max // 2 and len(self._by_id) < limits.count_max // 2:
            self._tails.forget()

    def _holds(self, entry: Entry) -> bool:
        return self._by_id.get(entry.transaction.id) is entry
