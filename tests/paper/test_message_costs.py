"""What a block costs in messages, against what the papers count.

Measured on the simulated network, one payment a block; a message to oneself is none. Where the
papers count a client's request and reply, those are left out here: they travel as transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from moot.lab.cost import measure

Formula = Callable[[int], dict[str, int]]


class Paper(NamedTuple):
    """``sizes`` measured; ``count``: messages of one block by kind, for n nodes; ``parameters``:
    so that nothing runs on a clock meanwhile, and no two nodes propose at once."""

    sizes: tuple[int, ...]
    count: Formula
    parameters: Mapping[str, int | str] = MappingProxyType({})


PAPERS: dict[str, Paper] = {
    # Castro and Liskov 1999, section 4.2 and figure 1: a pre-prepare to each backup, a prepare from
    # each backup to all others, a commit from each replica to all others.
    "pbft": Paper(
        (4, 5, 7),
        lambda n: {
            "PrePrepare": n - 1,
            "Prepare": (n - 1) * (n - 1),
            "Commit": n * (n - 1),
        },
    ),
    # Ongaro and Ousterhout 2014, figure 2: an append to each follower and its answer. That an entry
    # is committed travels with a later append there; here it is said at once, with its proof.
    "raft": Paper(
        (3, 5, 7),
        lambda n: {"AppendEntries": n - 1, "AppendReply": n - 1, "Committed": n - 1},
        {"heartbeat_ms": 1_000, "election_ms_min": 5_000, "election_ms_max": 6_000},
    ),
    # Lamport 2001, section 2.2 and 2.3: a prepare and an accept to each other acceptor, a promise
    # from each, and each acceptor tells all learners itself.
    "paxos": Paper(
        (3, 5, 7),
        lambda n: {
            "Prepare": n - 1,
            "Promise": n - 1,
            "Accept": n - 1,
            "Accepted": n * (n - 1),
        },
        {"spread_ms": 1_000},
    ),
    # The same, section 3: phase 1 was done for all heights; and section 2.3: a distinguished
    # learner, which tells the others.
    "multipaxos": Paper(
        (3, 5, 7),
        lambda n: {"Accept": n - 1, "Accepted": n - 1, "Decided": n - 1},
    ),
    # No votes: the block itself is all that travels, and what all engines share carries it.
    "authority": Paper((3, 5, 7), lambda n: {}),
}


@pytest.mark.parametrize(
    ("engine", "nodes"),
    [(engine, nodes) for engine, paper in PAPERS.items() for nodes in paper.sizes],
)
def test_a_block_costs_as_many_messages_as_the_paper_counts(engine: str, nodes: int) -> None:
    paper = PAPERS[engine]
    cost = measure(engine, nodes, blocks=20, parameters=dict(paper.parameters))
    own = {name: count for name, count in cost.messages.items() if name != "shared"}
    assert own == paper.count(nodes)
    assert cost.consensus_messages == sum(own.values())
    assert cost.consensus_bytes >= 17 * cost.consensus_messages
    assert cost.messages["shared"] > 0
