"""The standalone miner against a node's two answers, real workers included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chain.hashing import sha256
from chain.header import VERSION, Header, parse_header
from moot.miner import kernel
from moot.miner.standalone import MinerStatus, StandaloneMiner
from moot.miner.workers import Grinder

EASY = 2**256 // 2**10


class ScriptedNode:
    """Serves one template until it is solved, then the next; holds long polls like a node."""

    def __init__(self) -> None:
        self.height = 1
        self.moved = asyncio.Condition()
        self.asked: list[tuple[str, str | None]] = []
        self.submitted: list[tuple[str, Header]] = []
        self.verdicts: list[Mapping[str, Any]] = []
        self.down = 0
        self.submit_down = 0
        self.spoiled: dict[str, Any] = {}

    def header(self) -> Header:
        return Header(
            VERSION, sha256(bytes([self.height])), sha256(b"root"), 1_700_000_000, 0x1F00_FFFF, 0
        )

    async def move(self) -> None:
        async with self.moved:
            self.height += 1
            self.moved.notify_all()

    async def mining_template(self, payout: str, longpoll: str | None = None) -> Mapping[str, Any]:
        self.asked.append((payout, longpoll))
        if self.down:
            self.down -= 1
            raise ConnectionRefusedError("nobody there")
        async with self.moved:
            await self.moved.wait_for(lambda: longpoll != f"job {self.height}")
        answer = {
            "job": f"job {self.height}",
            "header": self.header().raw.hex(),
            "target": f"{EASY:064x}",
            "height": self.height,
            "expires_ms": 60_000,
        }
        answer.update(self.spoiled)
        self.spoiled = {}
        return answer

    async def mining_submit(self, job: str, header: str) -> Mapping[str, Any]:
        if self.submit_down:
            self.submit_down -= 1
            raise ConnectionResetError("gone")
        self.submitted.append((job, parse_header(bytes.fromhex(header))))
        verdict: Mapping[str, Any] = {"accepted": True, "code": "", "sentence": "", "id": "ab"}
        if self.verdicts:
            verdict = self.verdicts.pop(0)
        await self.move()
        return verdict


class Watched:
    """A running miner and what it reported."""

    def __init__(self, node: ScriptedNode) -> None:
        self.reports: list[MinerStatus] = []
        self.news = asyncio.Event()
        self.grinder = Grinder(1)
        self.miner = StandaloneMiner(
            node, self.grinder, "tmoot1payout", report=self._heard, pause_s_min=0.01
        )
        self.task = asyncio.create_task(self.miner.run())

    def _heard(self, status: MinerStatus) -> None:
        self.reports.append(status)
        self.news.set()

    async def until(self, condition: Callable[[MinerStatus], bool]) -> MinerStatus:
        async with asyncio.timeout(30):
            while not any(condition(status) for status in self.reports):
                self.news.clear()
                await self.news.wait()
        return next(status for status in self.reports if condition(status))

    async def end(self) -> None:
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task
        self.grinder.close()


async def test_mines_template_after_template() -> None:
    node = ScriptedNode()
    watched = Watched(node)
    await watched.until(lambda status: status.accepted >= 3)
    await watched.end()
    assert node.asked[:2] == [("tmoot1payout", None), ("tmoot1payout", "job 1")]
    for position, (job, header) in enumerate(node.submitted[:3], 1):
        assert job == f"job {position}"
        assert kernel.has_work(header.raw, EASY)
        assert header.previous == sha256(bytes([position]))


async def test_counts_stale_and_refused_finds() -> None:
    node = ScriptedNode()
    node.verdicts = [
        {"accepted": False, "code": "stale-job", "sentence": "too late"},
        {"accepted": False, "code": "other-work", "sentence": "not this job's"},
    ]
    watched = Watched(node)
    status = await watched.until(lambda status: status.accepted >= 1)
    await watched.end()
    assert (status.stale, status.rejected, status.lost) == (1, 1, 0)
    assert any("not this job's (other-work)" in status.sentence for status in watched.reports)


async def test_waits_for_a_node_that_is_away() -> None:
    node = ScriptedNode()
    node.down = 3
    watched = Watched(node)
    await watched.until(lambda status: status.accepted >= 1)
    await watched.end()
    waits = [status for status in watched.reports if "no template" in status.sentence]
    assert len(waits) == 3 and all(status.hash_rate == 0 for status in waits)
    assert [status.sentence[-6:] for status in waits] == ["0.01 s", "0.02 s", "0.04 s"]


async def test_a_find_is_delivered_again_when_the_node_does_not_answer() -> None:
    node = ScriptedNode()
    node.submit_down = 3
    watched = Watched(node)
    status = await watched.until(lambda status: status.accepted >= 1)
    await watched.end()
    assert status.lost == 0 and node.submitted[0][0] == "job 1"


async def test_a_find_that_cannot_be_delivered_is_counted() -> None:
    node = ScriptedNode()
    node.submit_down = 100
    watched = Watched(node)
    status = await watched.until(lambda status: status.lost == 1)
    await watched.end()
    assert status.accepted == 0


@pytest.mark.parametrize(
    "spoiled",
    [{"header": "00"}, {"header": "zz" * 80}, {"target": "12"}, {"height": "high"}, {"job": None}],
)
async def test_a_malformed_template_is_not_searched(spoiled: dict[str, Any]) -> None:
    node = ScriptedNode()
    node.spoiled = spoiled
    watched = Watched(node)
    first = await watched.until(lambda status: "no template" in status.sentence)
    await watched.until(lambda status: status.accepted >= 1)
    await watched.end()
    assert first.accepted == 0 and first.hash_rate == 0


async def test_a_new_head_replaces_the_search() -> None:
    node = ScriptedNode()
    node.spoiled = {"target": f"{1:064x}"}  # the first is hopeless
    watched = Watched(node)
    await watched.until(lambda status: status.height == 1)
    await node.move()
    await watched.until(lambda status: status.accepted >= 1)
    await watched.end()
    assert node.submitted[0][0] == "job 2"
