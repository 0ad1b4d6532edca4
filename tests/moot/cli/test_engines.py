"""``moot engines``: what each installed engine claims, and what its parameters mean."""

from __future__ import annotations

import pytest

from consensus.registry import engine_names
from tests.moot.cli.conftest import Moot, document


def test_the_list_tells_what_each_engine_claims(moot: Moot) -> None:
    told = document(moot("engines", "--json"))["engines"]
    assert [each["engine"] for each in told] == list(engine_names())
    raft = next(each for each in told if each["engine"] == "raft")
    assert raft["nodes"] == [
        {"n": n, "faults": f, "quorum": q}
        for n, f, q in ((3, 1, 2), (4, 1, 3), (5, 2, 3), (7, 3, 4))
    ]
    (line,) = [line for line in moot("engines").stdout.splitlines() if " raft " in line]
    for claim in ("crash", "immediate", "1, 1, 2, 3", "2, 3, 3, 4"):
        assert claim in line


@pytest.mark.parametrize("engine", engine_names())
def test_every_parameter_of_an_engine_says_what_it_means(moot: Moot, engine: str) -> None:
    told = document(moot("engines", engine, "--json"))
    for name, facts in told["parameters"].items():
        assert facts["meaning"], name
    shown = moot("engines", engine).stdout
    assert "quorum: " in shown and "bears: " in shown and " of 7" in shown
    assert all(name in shown for name in told["parameters"])


def test_a_meaning_is_told_of_its_own_parameter_alone(moot: Moot) -> None:
    told = document(moot("engines", "raft", "--json"))["parameters"]
    low, high = told["election_ms_min"]["meaning"], told["election_ms_max"]["meaning"]
    assert low == high and low.startswith("the range from which") and "4.2.3" in low
    assert told["heartbeat_ms"]["meaning"].startswith("pause between")
    assert "heartbeat" not in told["blocks_in_flight"]["meaning"]
