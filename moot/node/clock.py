"""The operating system's clocks."""

from __future__ import annotations

import time

from consensus.contract import Now


def system_clock() -> Now:
    """The wall clock and the monotonic clock, in milliseconds.

    The monotonic clock runs on while this process is stopped (SIGSTOP), as leases need.
    """
    return Now(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)
