"""Measures proof of work: kernels, how soon a new head stops the search, and the rules.

    python tests/bench/bench_pow.py

Not a test: figures depend on the machine, and on what else it does.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

from chain.header import VERSION, Header
from consensus.pow import PowRules
from consensus.pow.aserti3 import next_target
from moot.miner.workers import Grinder, benchmark
from tests.consensus.pow.trees import EASY, Tree

ROUNDS = 40


def header(number: int) -> Header:
    return Header(VERSION, number.to_bytes(32, "big"), bytes(32), 1_700_000_000, 0x1F00_FFFF, 0)


def processor_s(pid: int) -> float:
    """Processor time of a process in seconds (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def bench_workers() -> None:
    loop = asyncio.get_running_loop()
    grinder = Grinder(1)
    began = loop.time()
    first: asyncio.Future[float] = loop.create_future()
    grinder.start(0, header(0), 2**255, lambda job, found: first.set_result(loop.time()))
    print(f"first find, process start included: {(await first - began) * 1e3:.0f} ms")

    delays = []
    for number in range(1, ROUNDS):
        found: asyncio.Future[float] = loop.create_future()
        grinder.start(number, header(number), 1, lambda job, result: None)
        await asyncio.sleep(0.1)  # the worker is deep in its slices
        began = loop.time()
        grinder.start(
            number,
            header(1_000 + number),
            2**255,
            lambda job, result, f=found: f.set_result(loop.time()),  # type: ignore[misc]
        )
        delays.append((await found - began) * 1e3)
    delays.sort()
    print(
        f"new head to first hash on it: median {statistics.median(delays):.1f} ms, "
        f"worst of {len(delays)}: {delays[-1]:.1f} ms"
    )

    grinder.start(99, header(99), 1, lambda job, result: None)
    await asyncio.sleep(3)
    print(f"hash rate of one worker: {grinder.hash_rate() / 1e6:.2f} MH/s")
    (pid,) = grinder.pids
    print(f"memory of a worker: {memory_mib(pid):.0f} MiB")
    grinder.cancel()
    await asyncio.sleep(0.1)
    before = processor_s(pid)
    await asyncio.sleep(1)
    print(f"processor time of a cancelled worker in 1 s: {processor_s(pid) - before:.2f} s")
    grinder.close()


def bench_rules() -> None:
    tree = Tree(PowRules(EASY))
    tip = tree.grow(tree.genesis, 20)
    block = tree.child(tip).head
    count, began = 3_000, time.perf_counter()
    for _ in range(count):
        tree.rules.check_header(block, tree)
    print(f"check_header: {(time.perf_counter() - began) / count * 1e6:.1f} us")
    began = time.perf_counter()
    for height in range(count):
        next_target(
            2**220,
            elapsed_ms=height * 999,
            heights=height,
            spacing_ms=1_000,
            half_life_ms=60_000,
            limit=2**240,
        )
    print(f"next_target: {(time.perf_counter() - began) / count * 1e6:.2f} us")


def main() -> None:
    for figure in benchmark(1.0)["kernels"]:
        print(f"kernel {figure['name']}: {figure['mhs']:.2f} MH/s")
    asyncio.run(bench_workers())
    bench_rules()


if __name__ == "__main__":
    main()
