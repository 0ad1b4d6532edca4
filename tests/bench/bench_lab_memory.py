"""Whether memory stays flat. Run: python tests/bench/bench_lab_memory.py [ENGINE] [RUNS]

Resident memory and live objects of one process that does one run after the other, in ten steps.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from moot.lab.run import RunOptions, run

PAGE_KB = 4


def resident_mb() -> float:
    """Of this process, by Linux's /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KB / 1024


def main(engine: str, runs: int) -> None:
    print(f"{'runs':>6} {'resident MB':>12} {'objects':>9}")
    for done in range(runs + 1):
        if done % max(1, runs // 10) == 0:
            gc.collect()
            print(f"{done:>6} {resident_mb():>12.1f} {len(gc.get_objects()):>9}", flush=True)
        run(RunOptions(engine=engine, nodes=4 + done % 4, seed=done, minutes=0.5))


if __name__ == "__main__":
    chosen = sys.argv[1:]
    main(chosen[0] if chosen else "pbft", int(chosen[1]) if len(chosen) > 1 else 1_000)
