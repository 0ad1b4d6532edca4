"""What a simulated minute costs. Run: python tests/bench/bench_lab.py [ENGINE] [NODES] [RUNS]

CPU time of one core for each virtual minute with swarm faults, the healing after it included.
"""

from __future__ import annotations

import sys
import time

from moot.lab.run import RunOptions, run


def main(engine: str, nodes: int, runs: int) -> None:
    run(RunOptions(engine=engine, nodes=nodes, seed=0, minutes=0.1))
    costs = []
    events = 0
    for seed in range(1, runs + 1):
        started = time.process_time()
        outcome = run(RunOptions(engine=engine, nodes=nodes, seed=seed))
        costs.append((time.process_time() - started) * 60 / outcome.virtual_seconds)
        events += outcome.events
    costs.sort()
    print(
        f"{engine}, {nodes} nodes, {runs} runs: median {costs[runs // 2]:.2f} s of CPU a virtual "
        f"minute, worst {costs[-1]:.2f} s, {events // runs} events a run"
    )


if __name__ == "__main__":
    chosen = sys.argv[1:]
    main(
        chosen[0] if chosen else "pbft",
        int(chosen[1]) if len(chosen) > 1 else 4,
        int(chosen[2]) if len(chosen) > 2 else 20,
    )
