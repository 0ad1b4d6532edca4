"""An open-loop load: transactions leave at a true rate, whatever the nodes do.

Each transaction has an intended send time, start + i / rate, and latencies count from there: a node
that stalls delays what it was to be given meanwhile, and that delay is measured rather than left
out ("coordinated omission", Tene 2013). Transactions are signed ahead, sent in batches once a tick,
and each is accounted for: it ends final or failed, or is pending when the time to drain is over.

A node that cannot be reached loses its senders to the next one for a while. What may have been
lost with it is handed in again as the very same bytes, so nothing is ever paid twice.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from chain.hashing import parse_id
from moot.client.answers import NodeStatus, Submitted, TransactionStatus
from moot.client.errors import BadAnswer, ClientError, NodeRefused, NodeUnreachable
from moot.client.load_accounts import LoadTransaction, Sender
from moot.client.load_nodes import LoadNode
from moot.client.node import BATCH_MAX
from moot.client.percentiles import latency_facts
from wallet.keys import Key

TICK_S: Final = 0.02
"""Seconds between two batches to one node."""
LOOK_AHEAD_S: Final = 1.0
"""Seconds of load that are signed before they are due."""
SIGN_BATCH: Final = 50
"""Signatures made (some 3 ms) before the loop may do something else."""
POLL_S: Final = (0.02, 0.5)
"""Shortest and longest time between two looks at the head, where the feed tells when it moves."""
POLL_BLIND_S: Final = 0.05
"""Seconds between two looks where no feed tells: the error of latencies measured that way."""
ASK_AGAIN_S: Final = 1.0
"""Seconds after which all are asked for although the head stands still: one may be lost."""
SETTLED_DEPTH: Final = 100
"""Blocks on top after which a committed transaction is no longer watched (goal "committed")."""
FILL_AGAIN_S: Final = 0.5
"""Seconds between two tries to fill a hole in a sender's nonces."""
LOST_AFTER_S: Final = 3.0
"""Seconds after which a transaction that a node took, and nobody knows, is handed in again."""

Goal = Literal["final", "committed"]


class _Look(NamedTuple):
    """The head and the final block last seen, and when all and the newest were asked for."""

    head: str
    final: str
    all_s: float
    some_s: float


class LoadGenerator:
    """``rate`` transactions a second from ``keys`` (funded accounts) to ``nodes`` (URLs).

    ``goal`` "final": a transaction has ended when it is final; "committed": when it is in a block
    of the head branch, for chains that finalize nothing. Use as an async context manager::

        async with LoadGenerator(urls, keys, rate=500) as load:
            await load.run(10)
            await load.drain(30)
            print(load.report())
    """

    def __init__(
        self, nodes: Sequence[str], keys: Sequence[Key], rate: float, *, goal: Goal = "final"
    ) -> None:
        if not nodes or not keys:
            raise ValueError("a load needs at least one node and one account")
        if not 0 < rate < 1_000_000:
            raise ValueError("the rate is transactions a second, more than 0")
        self._nodes = [LoadNode(url) for url in nodes]
        self._keys = keys
        self._rate = rate
        self._goal = goal
        self._senders: list[Sender] = []
        self._open: dict[str, LoadTransaction] = {}  # taken by a node and not ended, by id
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._started_s = 0.0
        self._scheduled = self._signed = 0
        self._observer = 0
        self._looked = _Look("", "", 0.0, 0.0)
        # What the report needs, kept as it happens so that a live table costs nothing.
        self._due_end_s = 0.0
        self._revocable: list[LoadTransaction] = []  # committed and ended; their block may be left
        self._settled = 0
        self._latencies_ms: list[float] = []  # of the settled; sorted when reported
        self._commit_latencies_ms: list[float] = []
        self._committed = 0
        self._failed: Counter[str] = Counter()
        self._last_end_s = 0.0
        self._problem: str | None = None
        self._clock: Callable[[], float] = lambda: 0.0

    @property
    def goal(self) -> Goal:
        """When a transaction has ended."""
        return self._goal

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop sending and watching; the report stays as it is."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for node in self._nodes:
            await node.client.close()

    # --- running ----------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Send for so many seconds. Raises ClientError if no node answers at the start."""
        assert not self._tasks, "a load runs once"
        await self._prepare_senders()
        self._scheduled = max(1, round(self._rate * seconds))
        loop = asyncio.get_running_loop()
        # The first second is signed before the first transaction is due.
        await self._sign_until(math.ceil(self._rate * LOOK_AHEAD_S))
        self._clock = loop.time
        self._started_s = loop.time()
        self._due_end_s = self._started_s + self._scheduled / self._rate
        for sender in self._senders:
            for item in sender.waiting:
                item.intended_s += self._started_s
        self._tasks = [
            asyncio.create_task(self._sign_ahead()),
            asyncio.create_task(self._watch()),
            *(asyncio.create_task(self._listen(node)) for node in self._nodes),
            *(asyncio.create_task(self._feed_node(index)) for index in range(len(self._nodes))),
        ]
        await self._wait(None, self._due_end_s - loop.time())

    def stop(self) -> None:
        """No more transactions become due; ``drain`` still sees those through that are."""
        now_s = self._clock()
        dropped = sum(sender.drop_after(now_s) for sender in self._senders)
        self._scheduled = min(self._scheduled, self._signed - dropped)
        self._check_ended()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until every transaction has ended; False if the time was not enough."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while True:
            await self._wait(self._ended, deadline_s - loop.time())
            if not self._ended.is_set():
                return False
            # Without finality a block may have been left since: what it held is open again.
            if self._goal == "final" or not await self._reopen_left():
                return True
            if loop.time() >= deadline_s:
                return False

    async def _wait(self, event: asyncio.Event | None, timeout_s: float) -> None:
        """Until ``event`` or the time is over; raises what ended one of the tasks."""
        own = [] if event is None else [asyncio.create_task(event.wait())]
        watched: set[asyncio.Task[Any]] = {
            *own,
            *(task for task in self._tasks if not task.done() or task.exception() is not None),
        }
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + max(0.0, timeout_s)
        try:
            while True:
                done, watched = await asyncio.wait(
                    watched,
                    timeout=max(0.0, deadline_s - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    task.result()
                if loop.time() >= deadline_s or (event is not None and event.is_set()):
                    return
        finally:
            for task in own:
                task.cancel()

    async def _prepare_senders(self) -> None:
        status = await self._first_status()
        chain_id = parse_id(status.chain_id)
        for index, key in enumerate(self._keys):
            recipient = self._keys[(index + 1) % len(self._keys)].address
            self._senders.append(
                Sender(
                    key,
                    recipient,
                    status.prefix,
                    chain_id,
                    status.fee_per_kilobyte_min,
                    index % len(self._nodes),
                )
            )
        for sender in self._senders:
            node = self._nodes[self._observer]
            sender.start_at((await node.client.account(sender.address)).pending_nonce)

    async def _first_status(self) -> NodeStatus:
        problem: ClientError | None = None
        for index, node in enumerate(self._nodes):
            try:
                status = await node.client.status()
            except ClientError as error:
                problem = error
            else:
                self._observer = index
                return status
        assert problem is not None
        raise problem

    # --- signing ahead ----------------------------------------------------------------------------

    async def _sign_until(self, count: int) -> None:
        # stop() may lower what is scheduled at any time.
        while (missing := min(count, self._scheduled) - self._signed) > 0:
            for _ in range(min(SIGN_BATCH, missing)):
                intended_s = self._started_s + self._signed / self._rate
                sender = self._senders[self._signed % len(self._senders)]
                sender.add(LoadTransaction(sender, intended_s))
                self._signed += 1
            await asyncio.sleep(0)

    async def _sign_ahead(self) -> None:
        loop = asyncio.get_running_loop()
        while self._signed < self._scheduled:
            ahead_s = loop.time() + LOOK_AHEAD_S - self._started_s
            await self._sign_until(math.ceil(ahead_s * self._rate))
            await asyncio.sleep(LOOK_AHEAD_S / 4)

    # --- sending ----------------------------------------------------------------------------------

    async def _feed_node(self, index: int) -> None:
        """Send what is due to one node, a batch a tick."""
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            senders = [s for s in self._senders if not s.busy and self._target(s, now_s) == index]
            batch = await self._collect(index, senders, now_s)
            if batch:
                await self._send(index, batch)
            # Aligned to the tick, so that a slow answer does not shift all later batches.
            elapsed_s = (loop.time() - self._started_s) % TICK_S
            await asyncio.sleep(TICK_S - elapsed_s)

    def _target(self, sender: Sender, now_s: float) -> int | None:
        """The node that serves a sender now: its own, or the next that is not down."""
        count = len(self._nodes)
        for step in range(count):
            index = (sender.home + step) % count
            if self._nodes[index].down_until_s <= now_s:
                return index
        return None

    async def _collect(
        self, index: int, senders: list[Sender], now_s: float
    ) -> list[LoadTransaction]:
        batch: list[LoadTransaction] = []
        for sender in senders:
            self._fill_hole(sender, now_s)
            # An earlier sender's resync may have taken time: look again.
            if sender.busy or not (sender.waiting and sender.waiting[0].intended_s <= now_s):
                continue
            if sender.resync and not await self._resync(index, sender):
                continue
            while len(batch) < BATCH_MAX and sender.waiting:
                item = sender.waiting[0]
                if item.intended_s > now_s:
                    break
                sender.sent(sender.waiting.popleft())
                sender.busy = True
                batch.append(item)
        return batch

    def _fill_hole(self, sender: Sender, now_s: float) -> None:
        """At the end of the schedule nothing comes that would use a refused one's nonce again."""
        if sender.busy or sender.waiting or self._signed < self._scheduled:
            return
        if now_s - sender.filled_s > FILL_AGAIN_S and sender.has_hole():
            sender.filled_s = now_s
            sender.add(LoadTransaction(sender, now_s, filler=True))

    async def _resync(self, index: int, sender: Sender) -> bool:
        sender.busy = True
        try:
            account = await self._nodes[index].client.account(sender.address)
        except NodeUnreachable:
            self._nodes[index].failed(asyncio.get_running_loop().time())
            return False
        except (NodeRefused, BadAnswer):
            return False
        finally:
            sender.busy = False
        sender.start_at(account.pending_nonce)
        return True

    async def _send(self, index: int, batch: list[LoadTransaction]) -> None:
        node = self._nodes[index]
        loop = asyncio.get_running_loop()
        try:
            results = await node.client.submit([item.raw for item in batch])
            node.answered()
            results = await self._known_after_all(node, batch, results)
        except ClientError as error:
            # Whether the node has them is unknown: the same bytes go to the next node.
            self._problem = str(error)
            node.failed(loop.time())
            for sender, items in _by_sender(batch):
                sender.send_again(items)
        else:
            self._sort_out(batch, results, loop.time())
        finally:
            for sender, _ in _by_sender(batch):
                sender.busy = False

    async def _known_after_all(
        self, node: LoadNode, batch: list[LoadTransaction], results: list[Submitted]
    ) -> list[Submitted]:
        """What was handed in before may be refused because it is in the chain by now."""
        doubtful = [
            position
            for position, (item, result) in enumerate(zip(batch, results, strict=True))
            if result.code and item.attempts > 1
        ]
        if not doubtful:
            return results
        statuses = await node.client.transaction_statuses([batch[p].txid for p in doubtful])
        known = {p for p, s in zip(doubtful, statuses, strict=True) if s.state != "unknown"}
        return [Submitted(r.txid) if p in known else r for p, r in enumerate(results)]

    def _sort_out(
        self, batch: list[LoadTransaction], results: list[Submitted], now_s: float
    ) -> None:
        refused: list[LoadTransaction] = []
        for item, result in zip(batch, results, strict=True):
            if result.code in ("", "already-known"):
                item.taken_s = now_s
                self._open[item.txid] = item
            else:
                self._fail(item, result.code, now_s)
                refused.append(item)
        for sender, items in _by_sender(refused):
            sender.release(items)
            # A refusal for the nonce's sake says that we count wrongly: ask.
            sender.resync = any("nonce" in item.code for item in items)
        self._check_ended()

    # --- watching ---------------------------------------------------------------------------------

    async def _listen(self, node: LoadNode) -> None:
        """Wake the watcher when a node's head or finality moves."""
        while True:
            with suppress(ClientError):
                async for frame in node.client.feed(kinds=("head", "final"), reconnect=False):
                    node.listening = True
                    if frame.kind in ("hello", "head", "final"):
                        self._news.set()
            node.listening = False
            await asyncio.sleep(POLL_S[1])

    async def _watch(self) -> None:
        while True:
            listening = self._nodes[self._observer].listening
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S[1] if listening else POLL_BLIND_S):
                    await self._news.wait()
            self._news.clear()
            if self._open or self._revocable:
                try:
                    await self._look()
                except ClientError:
                    self._observe_next()
            await asyncio.sleep(POLL_S[0])

    def _observe_next(self) -> None:
        self._observer = (self._observer + 1) % len(self._nodes)
        self._looked = _Look("", "", 0.0, 0.0)

    async def _look(self) -> None:
        client = self._nodes[self._observer].client
        status = await client.status()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        last = self._looked
        same = (last.head, last.final) == (status.head.id, status.finalized.id)
        if same and began_s - last.all_s < ASK_AGAIN_S:
            # Only those that a node took since may have been missed when this head was new.
            items = [i for i in self._open.values() if (i.taken_s or 0.0) >= last.some_s]
            self._looked = last._replace(some_s=began_s)
        else:
            # What stands above the final block is looked at again when finality reaches it.
            height = status.finalized.height
            items = [i for i in self._open.values() if (i.committed_height or 0) <= height]
            self._settle(status.head.height - SETTLED_DEPTH)
            self._looked = _Look(status.head.id, status.finalized.id, began_s, began_s)
        lost: list[LoadTransaction] = []
        for start in range(0, len(items), BATCH_MAX):
            part = items[start : start + BATCH_MAX]
            found = await client.transaction_statuses([item.txid for item in part])
            now_s = loop.time()
            for item, state in zip(part, found, strict=True):
                if self._apply(item, state, now_s) and not status.syncing:
                    lost.append(item)
        for sender, group in _by_sender(lost):
            for item in group:
                del self._open[item.txid]
            sender.send_again(group)
        if status.syncing:
            self._observe_next()
        self._check_ended()

    def _apply(self, item: LoadTransaction, found: TransactionStatus, now_s: float) -> bool:
        """Take note of a status; True if the transaction seems to be lost."""
        if item.txid not in self._open:
            return False
        if found.state in ("committed", "final"):
            if item.committed_s is None:
                item.committed_s = now_s
                self._committed += not item.filler
            item.committed_height = found.height
            if found.state == "final" or self._goal == "committed":
                self._end(item, now_s)
        elif found.state == "failed":
            self._uncommit(item)
            item.sender.included(item)
            del self._open[item.txid]
            self._fail(item, found.code or "failed", now_s)
        elif found.state == "displaced":
            self._uncommit(item)
            del self._open[item.txid]
            if found.code == "wrong-nonce-low":
                item.sender.included(item)  # another of its sender's has the nonce
            else:
                item.sender.release([item])
                item.sender.resync = True
            self._fail(item, found.state, now_s)
        else:
            self._uncommit(item)
            return (
                found.state == "unknown"
                and item.taken_s is not None
                and now_s - item.taken_s > LOST_AFTER_S
            )
        return False

    def _uncommit(self, item: LoadTransaction) -> None:
        if item.committed_s is not None:
            item.committed_s = item.committed_height = None
            self._committed -= not item.filler

    def _end(self, item: LoadTransaction, now_s: float) -> None:
        del self._open[item.txid]
        if item.filler:
            item.sender.included(item)
            return
        item.ended_s = self._last_end_s = now_s
        if self._goal == "final":
            self._keep(item)
        else:
            self._revocable.append(item)

    def _keep(self, item: LoadTransaction) -> None:
        """Of what cannot change any more, only the figures stay."""
        assert item.ended_s is not None and item.committed_s is not None
        item.sender.included(item)
        self._settled += 1
        self._latencies_ms.append((item.ended_s - item.intended_s) * 1000)
        self._commit_latencies_ms.append((item.committed_s - item.intended_s) * 1000)

    def _settle(self, height: int) -> None:
        """Without finality, whatever is at or below ``height`` counts as there for good."""
        deep = [item for item in self._revocable if (item.committed_height or 0) <= height]
        if deep:
            self._revocable = [i for i in self._revocable if (i.committed_height or 0) > height]
            for item in deep:
                self._keep(item)

    def _fail(self, item: LoadTransaction, code: str, now_s: float) -> None:
        item.code = code
        item.ended_s = now_s
        self._failed[code] += not item.filler

    async def _reopen_left(self) -> bool:
        """Whether committed transactions are no longer in the head branch; they are open again."""
        client = self._nodes[self._observer].client
        items = list(self._revocable)
        try:
            found = await client.transaction_statuses([item.txid for item in items])
        except ClientError:
            self._observe_next()
            await asyncio.sleep(POLL_S[1])
            return True
        states = {state.txid: state.state for state in found}
        # What was settled meanwhile stays settled.
        left = [
            item
            for item in self._revocable
            if states.get(item.txid, "final") not in ("committed", "final")
        ]
        for item in left:
            self._uncommit(item)
            item.ended_s = None
            self._open[item.txid] = item
        gone = {item.txid for item in left}
        self._revocable = [item for item in self._revocable if item.txid not in gone]
        self._check_ended()
        return bool(left)

    def _check_ended(self) -> None:
        if self._ended_well() + self._failed.total() >= self._scheduled:
            self._ended.set()
        else:
            self._ended.clear()

    # --- the report -------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """What became of every transaction due so far; cheap enough for a live table.

        ``submitted`` = ``finalized`` (with goal "committed": ``committed``) + ``failed`` +
        ``pending``. ``tps``: ended well, over the seconds from the first intended send time to the
        last such end. ``latency_ms`` counts from the intended send time, to finality (or to
        commitment, by goal); ``commit_latency_ms`` to commitment. ``problem``: the last sentence
        of a node that took a batch not at all; None if that never happened.
        """
        done = self._ended_well()
        submitted = self._due()
        failed = self._failed.total()
        elapsed_s = self._last_end_s - self._started_s if done else 0.0
        latencies_ms, commit_latencies_ms = self._latencies_ms, self._commit_latencies_ms
        # In place: what was sorted at the last report makes this one cheap.
        latencies_ms.sort()
        commit_latencies_ms.sort()
        if self._revocable:
            latencies_ms = latencies_ms + [
                (item.ended_s - item.intended_s) * 1000
                for item in self._revocable
                if item.ended_s is not None
            ]
            commit_latencies_ms = latencies_ms
        return {
            "submitted": submitted,
            "committed": self._committed,
            "finalized": done if self._goal == "final" else 0,
            "failed": failed,
            "failed_by_reason": dict(sorted(self._failed.items())),
            "pending": submitted - done - failed,
            "rate": self._rate,
            "problem": self._problem,
            "tps": round(done / elapsed_s, 3) if elapsed_s > 0 else 0.0,
            "latency_ms": latency_facts(latencies_ms),
            "commit_latency_ms": latency_facts(commit_latencies_ms),
        }

    def _ended_well(self) -> int:
        return self._settled + len(self._revocable)

    def _due(self) -> int:
        """How many transactions were due by now."""
        if not self._started_s:
            return 0
        passed_s = self._clock() - self._started_s
        return min(self._scheduled, math.floor(passed_s * self._rate) + 1)


def _by_sender(
    items: Sequence[LoadTransaction],
) -> list[tuple[Sender, list[LoadTransaction]]]:
    groups: dict[Sender, list[LoadTransaction]] = {}
    for item in items:
        groups.setdefault(item.sender, []).append(item)
    return list(groups.items())
