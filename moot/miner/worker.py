"""The process that hashes. It reads jobs from one pipe and writes reports to another.

Started by ``moot.miner.workers`` and never imported by it for more than the frames. It ends when
its input ends, so it cannot outlive its parent, whatever kills the parent.
"""

from __future__ import annotations

import os
import select
import signal
import struct
import time

from moot.miner import kernel

JOB = struct.Struct("<Q80s32s")
"""generation (0: rest), header, target (big-endian)."""
REPORT = struct.Struct("<QBQ80s")
"""generation, whether found, hashes since the last report, the header that has work."""

SLICE_S = 0.02
"""Length of one slice of hashing: a new head is noticed after at most this, of 50 ms allowed."""
SLICE_MIN = 256
SLICE_MAX = 2**20
REPORT_S = 0.25
"""How often hashes are reported while nothing is found."""


class Inbox:
    """Frames of JOB from a pipe; only the newest one counts."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._buffer = b""

    def newest(self, *, wait: bool) -> bytes | None:
        """The last whole frame waiting, None if there is none. Raises EOFError at the end."""
        frame = None
        while self._poll.poll(None if wait and frame is None else 0):
            data = os.read(self._descriptor, 65_536)
            if not data:
                raise EOFError
            self._buffer += data
            whole = len(self._buffer) // JOB.size * JOB.size
            if whole:
                frame = self._buffer[whole - JOB.size : whole]
                self._buffer = self._buffer[whole:]
        return frame


class Hasher:
    """Works off jobs, slice by slice, until the inbox ends."""

    def __init__(self, inbox: Inbox, output: int, first_variant: int, stride: int) -> None:
        self._inbox = inbox
        self._output = output
        self._first_variant = first_variant
        self._stride = stride
        self._slice = 4_096
        self._hashes = 0
        self._reported = time.monotonic()

    def run(self) -> None:
        """Returns never but by EOFError (parent gone) or BrokenPipeError (same)."""
        frame = None
        while True:
            if frame is None:
                frame = self._inbox.newest(wait=True)
                assert frame is not None
            generation, header, target = JOB.unpack(frame)
            frame = None
            if generation:
                frame = self._search(generation, header, int.from_bytes(target, "big"))

    def _search(self, generation: int, header: bytes, target: int) -> bytes | None:
        """Searches until something is found or another frame comes, which it returns."""
        self._hashes, self._reported = 0, time.monotonic()
        for variant in kernel.variants(header, self._first_variant, self._stride):
            rank = 0
            while rank < kernel.RANKS:
                count = min(self._slice, kernel.RANKS - rank)
                began = time.monotonic()
                nonce = kernel.scan(variant, target, rank, count)
                if nonce is not None:
                    self._hashes += kernel.nonce_of(nonce) - rank + 1
                    self._report(generation, kernel.with_nonce(variant, nonce))
                    return None
                rank += count
                self._hashes += count
                self._adapt(count, time.monotonic() - began)
                if time.monotonic() - self._reported >= REPORT_S:
                    self._report(generation, None)
                frame = self._inbox.newest(wait=False)
                if frame is not None:
                    self._report(generation, None)
                    return frame
        return None

    def _adapt(self, count: int, seconds: float) -> None:
        """The next slice is as long as SLICE_S allows at this slice's pace, growing by half."""
        fitting = int(count * SLICE_S / max(seconds, 1e-6))
        self._slice = max(SLICE_MIN, min(fitting, self._slice * 3 // 2, SLICE_MAX))

    def _report(self, generation: int, found: bytes | None) -> None:
        frame = REPORT.pack(
            generation, found is not None, self._hashes, found or bytes(kernel.HEADER_SIZE)
        )
        os.write(self._output, frame)  # shorter than PIPE_BUF: written whole or not at all
        self._hashes, self._reported = 0, time.monotonic()


def main(first_variant: int, stride: int, niceness: int) -> None:
    """Hashes for the process behind standard input and output until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; we follow EOF
    os.nice(niceness)
    try:
        Hasher(Inbox(0), 1, first_variant, stride).run()
    except (EOFError, BrokenPipeError):
        return
