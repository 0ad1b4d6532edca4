"""Liars: every kind lies, and honest nodes bear it."""

from __future__ import annotations

import pytest

from moot.lab.history import Pay, ReadAccount
from moot.lab.liars import UnknownLiar, liar_kinds
from moot.lab.run import Laboratory, RunOptions, run

PBFT = liar_kinds("pbft", "byzantine")
POW = liar_kinds("pow", "honest-work-majority")


def test_the_kinds_that_each_engine_must_bear() -> None:
    assert {"silent", "equivocating-voter", "twins", "forger", "double-spender"} <= set(PBFT)
    assert {"selfish-miner", "invalid-block-maker", "timestamp-liar"} <= set(POW)
    assert liar_kinds("raft", "crash") == ()


def test_more_liars_than_can_be_borne_are_refused() -> None:
    with pytest.raises(UnknownLiar, match="bear 1 liars among 4 nodes, not 2"):
        run(RunOptions(engine="pbft", nodes=4, seed=1, liars=2))


def test_an_unknown_kind_is_refused_with_the_known_names() -> None:
    with pytest.raises(UnknownLiar, match="silent"):
        run(RunOptions(engine="pbft", nodes=4, seed=1, liars=1, liar_kinds=("selfish-miner",)))


def test_a_run_with_liars_repeats() -> None:
    options = RunOptions(engine="pbft", nodes=4, seed=3, minutes=0.1, liars=1)
    first, second = run(options), run(options)
    assert first.trace_hash == second.trace_hash
    assert any(name.startswith("liar_") for name in first.exercised)


def _bears(engine: str, kind: str) -> None:
    options = RunOptions(
        engine=engine,
        nodes=4,
        seed=5,
        minutes=0.2,
        faults=("kill", "delay"),
        liars=1,
        liar_kinds=(kind,),
    )
    outcome = run(options)
    assert outcome.violations == []
    assert outcome.operations > 0


@pytest.mark.parametrize("kind", ["twins", "equivocating-proposer", "forger"])
def test_pbft_bears(kind: str) -> None:
    _bears("pbft", kind)


def test_a_poisoner_that_alone_claims_old_blocks_keeps_no_wiped_node_from_a_snapshot() -> None:
    """The others had pruned what n0 needed, and n0 waited for the liar's blocks for ever."""
    outcome = run(RunOptions(engine="pbft", nodes=7, seed=179, minutes=0.5, liars=1))
    assert outcome.violations == []
    assert outcome.exercised["liar_poisoner"] and outcome.exercised["snapshot-installed"]


def test_what_a_double_spender_pays_users_is_no_violation() -> None:
    """A true balance, a liar's payment in it, was once taken for an invented one."""
    options = RunOptions(
        engine="pbft", nodes=4, seed=24, minutes=0.3, liars=1, liar_kinds=("double-spender",)
    )
    laboratories: list[Laboratory] = []
    assert run(options, (laboratories.append,)).violations == []
    history = laboratories[0].readers.history
    operations = {one.number: one for one in history.operations()}
    blocks = laboratories[0].auditor.keeper.books.blocks
    stolen = [
        one
        for one in map(operations.__getitem__, history.order_in(blocks))
        if isinstance(one.call, Pay) and one.call.sender == "thief"
    ]
    assert stolen, "it paid nobody"
    assert all(one.lost for one in stolen)
    paid = {one.call.recipient for one in stolen if isinstance(one.call, Pay)}
    assert any(
        isinstance(one.call, ReadAccount) and one.call.account in paid and not one.lost
        for one in operations.values()
    ), "nobody read what it paid"
    nonces = [
        one.call.nonce
        for one in operations.values()
        if isinstance(one.call, Pay) and one.call.sender == "thief"
    ]
    assert len(set(nonces)) < len(nonces), "it signed no nonce twice"


@pytest.mark.parametrize("kind", ["selfish-miner", "invalid-block-maker"])
def test_pow_bears(kind: str) -> None:
    _bears("pow", kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PBFT)
def test_pbft_bears_all(kind: str) -> None:
    _bears("pbft", kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", POW)
def test_pow_bears_all(kind: str) -> None:
    _bears("pow", kind)
