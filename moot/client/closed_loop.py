"""A closed loop: so many transactions outstanding, and a new one for each that ends.

It shows what a network can do at a given concurrency, and at which latency; unlike an open-loop
load (moot.client.load) it slows down with a slow network, so it says nothing about overload.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from chain.hashing import parse_id
from moot.client.answers import NodeStatus
from moot.client.errors import ClientError
from moot.client.load_accounts import LoadTransaction, Sender
from moot.client.node import BATCH_MAX, NodeClient
from moot.client.percentiles import latency_facts
from wallet.keys import Key

Goal = Literal["committed", "final"]

PATIENCE_S: Final = 30.0
"""Seconds after which an operation counts as failed: more than any change of leaders takes."""


class ClosedLoopReport(msgspec.Struct, frozen=True):
    """``operations``: transfers that began and ended within ``seconds``; ``all_operations``: those
    of the warm-up and the end too. ``failed``: by reason."""

    outstanding: int
    batch: int
    seconds: float
    operations: int
    all_operations: int
    per_second: float
    latency_ms: dict[str, float] | None
    failed: dict[str, int]


async def closed_loop(
    url: str,
    keys: Sequence[Key],
    *,
    outstanding: int,
    batch: int,
    seconds: float,
    goal: Goal = "final",
    warm_up_s: float = 1.0,
) -> ClosedLoopReport:
    """Keeps ``outstanding`` transfers under way at the node at ``url``, ``batch`` in a request.

    Each request is a worker with an account of its own; signing is done ahead, outside the time
    measured. Raises ClientError where the node cannot be reached, ValueError for too few ``keys``.
    """
    if not 1 <= batch <= min(outstanding, BATCH_MAX):
        raise ValueError(f"a batch has 1 to {min(outstanding, BATCH_MAX)} transfers")
    workers = outstanding // batch
    if len(keys) < workers:
        raise ValueError(f"{workers} requests at a time need as many accounts, not {len(keys)}")
    async with NodeClient(url, timeout_s=PATIENCE_S) as node:
        loop = _Loop(node, batch, goal, await node.status())
        await loop.run(keys[:workers], warm_up_s, seconds)
    return ClosedLoopReport(
        workers * batch,
        batch,
        seconds,
        len(loop.latencies_ms),
        loop.done,
        round(len(loop.latencies_ms) / seconds, 1),
        latency_facts(loop.latencies_ms),
        dict(sorted(loop.failed.items())),
    )


class _Loop:
    """The workers, and what they measured."""

    def __init__(self, node: NodeClient, batch: int, goal: Goal, status: NodeStatus) -> None:
        self.latencies_ms: list[float] = []
        self.failed: Counter[str] = Counter()
        self.done = 0
        self._node, self._batch, self._goal, self._status = node, batch, goal, status
        self._from_s = self._to_s = 0.0

    async def run(self, keys: Sequence[Key], warm_up_s: float, seconds: float) -> None:
        senders = [await self._sender(key) for key in keys]
        self._from_s = asyncio.get_running_loop().time() + warm_up_s
        self._to_s = self._from_s + seconds
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(self._work(sender))

    async def _sender(self, key: Key) -> Sender:
        """An account as the node knows it; it pays itself."""
        status = self._status
        chain_id, rate = parse_id(status.chain_id), status.fee_per_kilobyte_min
        sender = Sender(key, key.address, status.prefix, chain_id, rate, 0)
        sender.start_at((await self._node.account(sender.address)).pending_nonce)
        return sender

    async def _work(self, sender: Sender) -> None:
        clock = asyncio.get_running_loop().time
        ahead = self._signed(sender)
        while (began_s := clock()) < self._to_s:
            asking = asyncio.create_task(self._ask(ahead))
            await asyncio.sleep(0)
            # The next batch is signed while this one is under way: the client is not the measure.
            ahead = self._signed(sender)
            codes = await asking
            ended_s = clock()
            failed = [code for code in codes if code]
            if failed:
                self.failed.update(failed)
                # Which of its nonces are used is the node's to say.
                sender = await self._sender(sender.key)
                ahead = self._signed(sender)
            self.done += len(codes) - len(failed)
            if began_s >= self._from_s and ended_s <= self._to_s:
                taken_ms = (ended_s - began_s) * 1000
                self.latencies_ms += [taken_ms] * (len(codes) - len(failed))

    def _signed(self, sender: Sender) -> list[LoadTransaction]:
        items = [LoadTransaction(sender, 0.0) for _ in range(self._batch)]
        for item in items:
            sender.add(item)
            sender.sent(sender.waiting.popleft())
            sender.included(item)
        return items

    async def _ask(self, items: list[LoadTransaction]) -> list[str]:
        """Why each was not done; empty where it was."""
        raws = [item.raw for item in items]
        try:
            results = await self._node.submit(raws, wait=self._goal, wait_s=PATIENCE_S)
        except ClientError as error:
            return [type(error).__name__] * len(items)
        reached = ("final",) if self._goal == "final" else ("committed", "final")
        return ["" if r.state in reached else r.code or r.state for r in results]
