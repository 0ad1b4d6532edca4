"""How long the state tree takes. Run: python tests/bench/bench_state_tree.py [KEYS] [CHANGES]"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from chain.state.proofs import verify_state_proof
from chain.state.tree import EMPTY, StateTree


def best_of(runs: int, work: Callable[[], object]) -> float:
    """Seconds of the quickest of some runs: the least disturbed one."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main(keys: int, changes: int) -> None:
    rng = random.Random(1)
    items = [(b"a" + rng.randbytes(33), rng.randbytes(12)) for _ in range(keys)]
    tree = StateTree.build(items)
    some = rng.sample(items, changes)
    edits: dict[bytes, bytes | None] = {key: rng.randbytes(12) for key, _ in some}
    proofs = [(key, tree.prove(key)) for key, _ in some]
    rows = [
        (f"build {keys} keys", best_of(3, lambda: EMPTY.update(dict(items))), keys),
        (f"update {changes} of {keys} keys", best_of(7, lambda: tree.update(edits)), changes),
        (
            "one key at a time",
            best_of(3, lambda: [tree.update({k: v}) for k, v in edits.items()]),
            changes,
        ),
        ("get", best_of(3, lambda: [tree.get(key) for key, _ in some]), changes),
        ("prove", best_of(3, lambda: [tree.prove(key) for key, _ in some]), changes),
        (
            "verify a proof",
            best_of(3, lambda: [verify_state_proof(tree.root, k, p) for k, p in proofs]),
            changes,
        ),
        ("iterate", best_of(3, lambda: list(tree.items())), keys),
    ]
    for name, seconds, count in rows:
        print(f"{name:32} {seconds * 1e3:9.1f} ms {seconds / count * 1e6:9.2f} us each")


if __name__ == "__main__":
    main(*(int(argument) for argument in (sys.argv[1:] + ["100000", "1000"][len(sys.argv) - 1 :])))
