"""A pool of worker processes, driven from an asyncio loop: the node's grinder.

Each worker is a bare interpreter with two pipes. A job's result is taken only if it belongs to
the search that is on; a worker that dies is replaced; none survives ``close`` or the parent.
Needs an event loop with ``add_reader`` (every one of Unix's).
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chain.header import Header, parse_header
from moot.miner import kernel
from moot.miner.worker import JOB, REPORT

log = logging.getLogger("moot.miner")

NICENESS = 10
"""Hashing gives way to consensus and to the other nodes on the machine."""
RATE_WINDOW_S = 5.0
"""The hash rate is the mean over this long."""
RESTART_S_MIN = 0.1
RESTART_S_MAX = 10.0
"""A worker that died young is replaced after this long, doubling: a broken machine must not spin
in starting processes."""
YOUNG_S = 5.0

_ROOT = Path(__file__).resolve().parents[2]
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from moot.miner.worker import main; "
    "main(*map(int, sys.argv[2:]))"
)

Found = Callable[[int, Header], None]


class _Worker:
    """One process and the two pipes to it."""

    def __init__(self, first_variant: int, stride: int) -> None:
        # -I and -S: no environment, no site packages; the kernel needs the standard library only.
        arguments = [str(_ROOT), str(first_variant), str(stride), str(NICENESS)]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.input = self.process.stdin.fileno()
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)
        self.buffer = b""

    def send(self, frame: bytes) -> None:
        """Never waits. A worker that reads no more is killed; its end is then noticed."""
        try:
            os.write(self.input, frame)
        except BlockingIOError:
            self.process.kill()
        except BrokenPipeError:
            pass  # it is dead already, and its output says so to the loop

    def end(self) -> None:
        """Kills it (it has nothing to save), waits for it, closes the pipes."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class WorkerPool:
    """``processes`` workers that search one header at a time."""

    def __init__(self, processes: int) -> None:
        assert processes >= 1
        self.processes = processes
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: dict[int, _Worker] = {}
        self._started: dict[int, float] = {}
        self._deaths = [0] * processes
        self._pause = [RESTART_S_MIN] * processes
        self._restarts: dict[int, asyncio.TimerHandle] = {}
        self._generation = 0
        self._search: tuple[Header, int, Callable[[Header], None]] | None = None
        self._frame = JOB.pack(0, bytes(80), bytes(32))
        self._counts: deque[tuple[float, int]] = deque()
        self._since = self._rested = 0.0

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers alive, in the order of their places."""
        return tuple(self._workers[place].process.pid for place in sorted(self._workers))

    def search(self, header: Header, target: int, found: Callable[[Header], None]) -> None:
        """Searches a nonce for ``header``, in place of what was searched before.

        ``found`` gets, once, on the running loop, a header of which only version (BIP320's bits),
        time (never earlier) and nonce may differ. Starts the processes if this is the first search.
        """
        self._start()
        assert self._loop is not None
        now = self._loop.time()
        if self._search is None and (not self._counts or now - self._rested > RATE_WINDOW_S):
            self._counts.clear()  # after a long rest; the short one between two blocks counts
            self._since = now
        self._generation += 1
        self._search = (header, target, found)
        self._tell(JOB.pack(self._generation, header.raw, target.to_bytes(32, "big")))

    def rest(self) -> None:
        """Ends the search; nothing found before or after is reported any more."""
        if self._search is not None:
            assert self._loop is not None
            self._search, self._rested = None, self._loop.time()
            self._tell(JOB.pack(0, bytes(80), bytes(32)))

    def hash_rate(self) -> float:
        """Hashes a second over the last seconds; 0 when nothing is searched."""
        if self._search is None or self._loop is None:
            return 0.0
        now = self._loop.time()
        self._forget(now)
        span = min(RATE_WINDOW_S, now - self._since)
        return sum(count for _, count in self._counts) / span if span > 0 else 0.0

    def close(self) -> None:
        """Ends the search and all processes; returns when they are gone."""
        self._search = None
        self._counts.clear()
        for place in sorted(self._restarts):
            self._restarts.pop(place).cancel()
        for place in sorted(self._workers):
            self._remove(place)
        self._loop = None

    # -------------------------------------------------------------------------------- processes

    def _start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for place in range(self.processes):
                self._add(place)

    def _add(self, place: int) -> None:
        """Starts the worker of a place. One that follows a dead one begins where none has been."""
        assert self._loop is not None
        self._restarts.pop(place, None)
        first_variant = place + self.processes * (self._deaths[place] % 1_000)
        worker = _Worker(first_variant, self.processes)
        self._workers[place] = worker
        self._started[place] = self._loop.time()
        self._loop.add_reader(worker.output, self._readable, place)
        worker.send(self._frame)

    def _remove(self, place: int) -> None:
        assert self._loop is not None
        worker = self._workers.pop(place)
        self._loop.remove_reader(worker.output)
        worker.end()

    def _died(self, place: int) -> None:
        assert self._loop is not None
        code = self._workers[place].process.poll()
        self._remove(place)
        self._deaths[place] += 1
        old = self._loop.time() - self._started[place] >= YOUNG_S
        pause = RESTART_S_MIN if old else self._pause[place]
        self._pause[place] = min(pause * 2, RESTART_S_MAX)
        log.warning("mining worker %d ended (%s); another starts in %.1f s", place, code, pause)
        self._restarts[place] = self._loop.call_later(pause, self._add, place)

    def _tell(self, frame: bytes) -> None:
        self._frame = frame
        for place in sorted(self._workers):
            self._workers[place].send(frame)

    # ---------------------------------------------------------------------------------- reports

    def _readable(self, place: int) -> None:
        worker = self._workers[place]
        try:
            data = os.read(worker.output, 65_536)
        except BlockingIOError:
            return
        if not data:
            self._died(place)
            return
        worker.buffer += data
        while len(worker.buffer) >= REPORT.size and self._workers.get(place) is worker:
            frame, worker.buffer = worker.buffer[: REPORT.size], worker.buffer[REPORT.size :]
            self._reported(place, *REPORT.unpack(frame))

    def _reported(self, place: int, generation: int, is_find: int, hashes: int, raw: bytes) -> None:
        assert self._loop is not None
        now = self._loop.time()
        self._counts.append((now, hashes))
        self._forget(now)
        if not is_find or generation != self._generation or self._search is None:
            return
        header, target, found = self._search
        if not (kernel.has_work(raw, target) and _is_variant(raw, header)):
            log.error(
                "mining worker %d found what is no work: its memory is not to be trusted", place
            )
            self._workers[place].process.kill()
            return
        self.rest()
        found(parse_header(raw))

    def _forget(self, now: float) -> None:
        while self._counts and self._counts[0][0] < now - RATE_WINDOW_S:
            self._counts.popleft()


def _is_variant(raw: bytes, header: Header) -> bool:
    """Whether ``raw`` is ``header`` but for the version's free bits, a later time and the nonce."""
    found = parse_header(raw)
    return (
        (found.version ^ header.version) & ~kernel.VERSION_MASK == 0
        and (found.previous, found.merkle_root, found.bits)
        == (header.previous, header.merkle_root, header.bits)
        and header.time_s <= found.time_s <= header.time_s + kernel.TIME_ROLL_MAX_S
    )


class Grinder:
    """The node's grinder port: one search at a time, named by a job number.

    Processes start with the first search, so a node that does not mine has none.
    """

    def __init__(self, processes: int = 1) -> None:
        self._pool = WorkerPool(processes)

    def start(self, job_id: int, header: Header, target: int, found: Found) -> None:
        """Searches for ``header``; replaces any search before it.

        ``found(job_id, header)`` is called on the running loop, at most once; the header found
        differs from ``header`` in nonce, and at most in time and in BIP320's version bits.
        """

        def report(result: Header) -> None:
            found(job_id, result)

        self._pool.search(header, target, report)

    def cancel(self) -> None:
        """Ends the search; ``found`` is not called any more."""
        self._pool.rest()

    def hash_rate(self) -> float:
        """Hashes a second, 0 when nothing is searched."""
        return self._pool.hash_rate()

    @property
    def pids(self) -> tuple[int, ...]:
        return self._pool.pids

    def close(self) -> None:
        """Ends the search and every process; returns when they are gone."""
        self._pool.close()


def benchmark(seconds: float = 0.5) -> dict[str, Any]:
    """Megahashes a second of each kernel on one core, and the name of the one that miners use."""
    header = bytes(range(kernel.HEADER_SIZE))
    figures: list[dict[str, str | float]] = []
    for name, scan in kernel.KERNELS.items():
        count, began = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - began) < seconds:
            assert scan(header, 0, count, 8_192) is None, "no hash is zero"
            count += 8_192
        figures.append({"name": name, "mhs": round(count / elapsed / 1e6, 3)})
    return {"kernels": figures, "chosen": next(iter(kernel.KERNELS))}
