"""What a block costs in messages, against what the papers count.

Measured on the simulated network, one payment a block; a message to oneself is none. Where the
papers count a client's request and reply, those are left out here: they travel as transactions.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from moot.lab.cost import measure

Formula = Callable[[int], dict[str, int]]

PAPERS: dict[str, tuple[tuple[int, ...], Formula]] = {
    # Castro and Liskov 1999, section 4.2 and figure 1: a pre-prepare to each backup, a prepare from
    # each backup to all others, a commit from each replica to all others.
    "pbft": (
        (4, 7),
        lambda n: {
            "PrePrepare": n - 1,
            "Prepare": (n - 1) * (n - 1),
            "Commit": n * (n - 1),
        },
    ),
}


@pytest.mark.parametrize(
    ("engine", "nodes"),
    [(engine, nodes) for engine, (sizes, _) in PAPERS.items() for nodes in sizes],
)
def test_a_block_costs_as_many_messages_as_the_paper_counts(engine: str, nodes: int) -> None:
    cost = measure(engine, nodes, blocks=20)
    own = {name: count for name, count in cost.messages.items() if name != "shared"}
    assert own == PAPERS[engine][1](nodes)
    assert cost.consensus_messages == sum(own.values())
    assert cost.consensus_bytes > 100 * cost.consensus_messages
