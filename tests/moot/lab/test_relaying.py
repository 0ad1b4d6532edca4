"""The checker of relaying sees what goes round, and lets pass what only looks like it."""

from __future__ import annotations

import msgspec
import pytest

from moot.lab.hunt import hunt, options_of
from moot.lab.mutants import find_mutant
from moot.lab.run import RunOptions, run


@pytest.mark.parametrize("name", ["relays-what-is-known", "blocks-go-round"])
def test_what_is_announced_again_is_seen(name: str) -> None:
    catch = hunt(find_mutant(name), 1, shrinks=False)
    assert (catch.found, catch.checker) == (True, "relaying")
    honest = msgspec.structs.replace(options_of(find_mutant(name), 1), mutant=None)
    assert run(honest).violations == []


@pytest.mark.parametrize(
    ("engine", "nodes", "seed", "liars"),
    # A link that closed and opened while announcements waited; a peer that announced a block, was
    # asked for it, and sent none until it was taken to lack it.
    [("pbft", 4, 1, 0), ("authority", 4, 5, 0), ("multipaxos", 5, 106, 0), ("pbft", 4, 100, 1)],
)
def test_honest_nodes_pass_where_links_and_answers_fail(
    engine: str, nodes: int, seed: int, liars: int
) -> None:
    minutes = 0.4 if seed >= 100 else 0.25
    options = RunOptions(engine=engine, nodes=nodes, seed=seed, minutes=minutes, liars=liars)
    assert run(options).violations == []
