"""The worker pool with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chain.hashing import sha256
from chain.header import VERSION, Header
from moot.miner import kernel
from moot.miner.worker import REPORT
from moot.miner.workers import Grinder, WorkerPool

EASY = 2**256 // 2**12
HOPELESS = 1


def make_header(name: str) -> Header:
    return Header(VERSION, sha256(name.encode()), sha256(b"root"), 1_700_000_000, 0x1F00_FFFF, 0)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a process's end sets no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def grinder() -> AsyncIterator[Grinder]:
    made = Grinder(2)
    yield made
    made.close()


class Finds:
    """Collects what a grinder reports."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Header]] = []
        self.event = asyncio.Event()

    def __call__(self, job: int, header: Header) -> None:
        self.got.append((job, header))
        self.event.set()

    async def next(self) -> tuple[int, Header]:
        async with asyncio.timeout(30):
            await self.event.wait()
        self.event.clear()
        return self.got[-1]


async def test_finds_the_known_nonce() -> None:
    header, finds = make_header("known"), Finds()
    nonce = kernel.scan_plainly(header.raw, EASY, 0, 2**20)
    assert nonce is not None
    grinder = Grinder(1)
    grinder.start(7, header, EASY, finds)
    job, result = await finds.next()
    grinder.close()
    assert job == 7
    assert result.raw == kernel.with_nonce(header.raw, nonce)


async def test_one_search_after_another_each_found_once(grinder: Grinder) -> None:
    finds = Finds()
    for job in range(1, 9):
        header = make_header(f"job {job}")
        grinder.start(job, header, EASY, finds)
        number, result = await finds.next()
        assert number == job
        assert kernel.has_work(result.raw, EASY)
        assert (result.previous, result.merkle_root) == (header.previous, header.merkle_root)
    assert [job for job, _ in finds.got] == list(range(1, 9))


async def test_a_replaced_search_never_reports(grinder: Grinder) -> None:
    """Finds of the old job that are on their way when the new one starts are not delivered."""
    finds = Finds()
    for job in range(1, 40):
        grinder.start(job, make_header(f"old {job}"), 2**255, finds)
    grinder.start(99, make_header("new"), EASY, finds)
    await finds.next()
    assert [job for job, _ in finds.got] == [99]


async def test_a_cancelled_search_never_reports(grinder: Grinder) -> None:
    finds, after = Finds(), Finds()
    grinder.start(1, make_header("cancelled"), 2**255, finds)
    grinder.cancel()
    grinder.cancel()
    assert grinder.hash_rate() == 0.0
    grinder.start(2, make_header("after"), EASY, after)
    await after.next()
    assert finds.got == []


async def test_hash_rate_is_that_of_all_workers(grinder: Grinder) -> None:
    assert grinder.hash_rate() == 0.0 and grinder.pids == ()
    grinder.start(1, make_header("rate"), HOPELESS, Finds())
    await until(lambda: grinder.hash_rate() > 1_000)
    assert len(grinder.pids) == 2
    grinder.cancel()
    assert grinder.hash_rate() == 0.0
    grinder.start(2, make_header("next block"), HOPELESS, Finds())
    assert grinder.hash_rate() > 0  # the moment between two blocks does not reset the mean


async def test_a_killed_worker_is_replaced_and_takes_up_the_search() -> None:
    pool, finds = WorkerPool(1), Finds()
    pool.search(make_header("first"), HOPELESS, lambda header: finds(1, header))
    (victim,) = pool.pids
    os.kill(victim, signal.SIGKILL)
    await until(lambda: pool.pids not in ((victim,), ()))
    await until(lambda: pool.hash_rate() > 0)
    pool.search(make_header("second"), EASY, lambda header: finds(2, header))
    assert (await finds.next())[0] == 2
    pool.close()


async def test_a_worker_that_stopped_reading_is_replaced() -> None:
    pool, finds = WorkerPool(1), Finds()
    pool.search(make_header("stuck"), HOPELESS, lambda header: finds(0, header))
    (victim,) = pool.pids
    os.kill(victim, signal.SIGSTOP)
    for number in range(1_000):  # more jobs than a pipe holds
        pool.search(make_header(f"{number}"), HOPELESS, lambda header: finds(0, header))
    pool.search(make_header("last"), EASY, lambda header: finds(1, header))
    assert (await finds.next())[0] == 1
    assert victim not in pool.pids
    pool.close()


async def test_what_a_broken_worker_claims_is_not_believed() -> None:
    """A find is hashed again here; a worker whose find is no work is replaced."""
    pool, finds = WorkerPool(1), Finds()
    header = make_header("liar")
    pool.search(header, HOPELESS, lambda found: finds(1, found))
    (liar,) = pool.pids
    for forged in (header.raw, make_header("another block").raw):
        pool._reported(0, *REPORT.unpack(REPORT.pack(pool._generation, 1, 10, forged)))
    await until(lambda: pool.pids not in ((liar,), ()))
    assert finds.got == []
    pool.close()


async def test_close_leaves_no_process() -> None:
    grinder = Grinder(2)
    grinder.start(1, make_header("close"), HOPELESS, Finds())
    pids = grinder.pids
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    grinder.close()
    assert not any(alive(pid) for pid in pids)
    grinder.close()  # again does nothing
    finds = Finds()
    grinder.start(2, make_header("again"), EASY, finds)  # and a closed one can start anew
    await finds.next()
    grinder.close()


PARENT = """
import asyncio, sys
from chain.header import Header
from moot.miner.workers import Grinder

async def main():
    grinder = Grinder(1)
    grinder.start(1, Header(0, bytes(32), bytes(32), 0, 0, 0), 1, print)
    print(*grinder.pids, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_workers_do_not_outlive_a_parent_that_was_killed() -> None:
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=root, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await until(lambda: not running(worker))


def running(pid: int) -> bool:
    """Whether it still runs; one that ended but that nobody has waited for does not."""
    if not alive(pid):
        return False
    state = subprocess.run(
        ["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return state.stdout.strip() not in ("", "Z")
