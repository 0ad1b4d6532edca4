"""``moot devnet --chaos``: what the seed fixes, what it may break, and that all is well after."""

from __future__ import annotations

import itertools
import random

import pytest

from moot.cli.devnet.chaos import BEYOND_HOLD_S, HOLD_S, QUIET_S, UNDO, Episode, episodes
from tests.support.commands import moot_json

NAMES = ["node1", "node2", "node3", "node4"]


def plan(seed: int, names: list[str], bearable: int, count: int = 600) -> list[Episode]:
    return list(itertools.islice(episodes(random.Random(seed), names, bearable), count))


def test_a_seed_fixes_what_is_broken_and_when() -> None:
    assert plan(7, NAMES, 1) == plan(7, NAMES, 1)
    assert plan(7, NAMES, 1) != plan(8, NAMES, 1)


def test_most_of_the_time_a_quorum_is_left_and_sometimes_not() -> None:
    made = plan(1, NAMES, 1)
    sizes = [len(episode.faults) for episode in made]
    assert set(sizes) == {1, 2}
    assert 0.1 < sizes.count(2) / len(sizes) < 0.25
    for episode in made:
        victims = [fault.nodes for fault in episode.faults]
        assert len(set(victims)) == len(victims)
        low, high = HOLD_S if len(victims) == 1 else BEYOND_HOLD_S
        assert low <= episode.hold_s <= high
        assert QUIET_S[0] <= episode.quiet_s <= QUIET_S[1]
    assert {fault.action for e in made for fault in e.faults} == {"kill", "pause", "cut"}
    assert {fault.nodes[0] for e in made for fault in e.faults} == set(NAMES)


def test_whatever_is_broken_is_mended_links_first() -> None:
    for episode in plan(3, NAMES, 3):
        undone = episode.undo()
        assert {(UNDO[f.action], f.nodes) for f in episode.faults} == {
            (f.action, f.nodes) for f in undone
        }
        order = [fault.action for fault in undone]
        assert order == sorted(order, key=["heal", "resume", "restart"].index)


def test_one_node_alone_is_never_cut_from_itself() -> None:
    made = plan(5, ["node1"], 0)
    assert {fault.action for e in made for fault in e.faults} == {"kill", "pause"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("engine", "seed"), [("pbft", 11), ("pow", 12)])
def test_after_chaos_all_agree_and_every_transaction_is_accounted_for(
    engine: str, seed: int
) -> None:
    arguments = ("--nodes", "4", "--chaos", "--chaos-seed", str(seed), "--load", "50")
    report = moot_json(
        "devnet",
        "--engine",
        engine,
        "--rest-port",
        "0",
        *arguments,
        "--seconds",
        "40",
        "--json",
        timeout_s=240,
    )
    assert report["agreement"] is True
    assert report["pending"] == 0
    assert report["submitted"] == 2_000 == report["finalized"] + report["failed"]
    assert report["finalized_height"] > 0
    faults = [event for event in report["events"] if event.get("by") == "chaos"]
    assert {"chaos", "up", "load-stopped"} <= {event["event"] for event in report["events"]}
    assert len(faults) >= 8, report["events"]
    restarts = [event for event in report["events"] if event["event"] == "restart"]
    assert report["restarts"] == len(restarts)
