"""Requests that wait until transactions are in a block, or final; the feed tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from chain.hashing import TxId
from moot.node import feed
from moot.node.feed import News

if TYPE_CHECKING:
    from chain.block import BlockHead
    from moot.node.core import NodeCore

Goal = Literal["committed", "final"]

WAITED_FOR_MAX: Final = 50_000
"""Transactions that requests wait for at one time: some 10 MB, and more than any mempool holds
of one client's."""
WAIT_S_MAX: Final = 30.0
"""Longest wait, in seconds: less than what proxies and clients take for a dead connection."""


class TooManyWait(Exception):
    """No room for another request that waits."""


class Waiting:
    """Who waits for which transaction. Looks at each new block once, and only if someone waits."""

    def __init__(self) -> None:
        self._waited: dict[Goal, dict[TxId, list[_Wait]]] = {"committed": {}, "final": {}}
        self._count = 0
        self._core: NodeCore | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self, core: NodeCore) -> None:
        self._core = core
        self._unsubscribe = core.feed.subscribe(self._hear)

    def stop(self) -> None:
        """Every request that waits is answered as things stand."""
        self._unsubscribe()
        for waited in self._waited.values():
            for waits in list(waited.values()):
                for wait in waits:
                    wait.done.set()

    async def until(self, txids: Sequence[TxId], goal: Goal, seconds: float) -> None:
        """Returns when each of ``txids`` has got there or was dropped, or when time is up.

        Whoever calls looks afterwards where they stand. Raises TooManyWait.
        """
        open_ = [txid for txid in dict.fromkeys(txids) if not self._reached(txid, goal)]
        if not open_:
            return
        if self._count + len(open_) > WAITED_FOR_MAX:
            raise TooManyWait
        wait = _Wait(len(open_))
        waited = self._waited[goal]
        self._count += len(open_)
        for txid in open_:
            waited.setdefault(txid, []).append(wait)
        try:
            async with asyncio.timeout(seconds):
                await wait.done.wait()
        except TimeoutError:
            pass
        finally:
            self._count -= len(open_)
            for txid in open_:
                # Those that got there have left by themselves.
                waits = waited.get(txid, [])
                if wait in waits:
                    waits.remove(wait)
                    if not waits:
                        del waited[txid]

    def _reached(self, txid: TxId, goal: Goal) -> bool:
        assert self._core is not None
        ledger = self._core.ledger
        located = ledger.transaction(txid)
        if located is None:
            return False
        return goal == "committed" or located.height <= ledger.height(ledger.confirmed())

    def _hear(self, news: News) -> None:
        match news:
            case feed.HeadMovedTo(head=head, added=added) if self._waited["committed"]:
                self._block_came(head, "committed", added)
            case feed.BecameFinal(head=head) if self._waited["final"]:
                self._block_came(head, "final", 1)
            case feed.TransactionDropped(id=txid):
                for waited in self._waited.values():
                    self._arrived(waited, txid)

    def _block_came(self, head: BlockHead, goal: Goal, count: int) -> None:
        """``head`` and the blocks below it, ``count`` in all, are new to that goal."""
        assert self._core is not None
        ledger, waited = self._core.ledger, self._waited[goal]
        at = head.id
        for _ in range(count):
            block = ledger.block(at)
            if block is None:
                return
            for transaction in block.transactions:
                if transaction.id in waited:
                    self._arrived(waited, transaction.id)
            at = block.previous

    @staticmethod
    def _arrived(waited: dict[TxId, list[_Wait]], txid: TxId) -> None:
        for wait in waited.pop(txid, ()):
            wait.one_arrived()


class _Wait:
    """One request that waits for so many transactions."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self.done = asyncio.Event()

    def one_arrived(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.done.set()
