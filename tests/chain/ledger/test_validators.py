"""Validator sets take effect ``lag`` blocks after the state that holds them, on each branch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from chain.changes import StateChange
from chain.execution import BlockExecution, Executed
from chain.genesis import Genesis, Limits
from chain.state.accounts import VALIDATORS_KEY, encode_validators
from chain.storage.memory import MemoryStore
from chain.validators import Validator, ValidatorSet, validator_set
from tests.support.chains import address, grow, make_genesis, open_ledger

SETS = {
    height: validator_set([Validator(address(height + n), 1) for n in range(3)])
    for height in (2, 3, 7)
}


@pytest.fixture
def elections(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[int, ValidatorSet]]:
    """Blocks at some heights elect another set. (No action does that yet: the rule is older.)"""
    plain = BlockExecution.finish

    def finish(self: BlockExecution, changes: tuple[StateChange, ...]) -> Executed:
        executed = plain(self, changes)
        if self.height in SETS:
            value = encode_validators(SETS[self.height])
            writes = {**executed.writes, VALIDATORS_KEY: value}
            undo = {**executed.undo, VALIDATORS_KEY: self._parent.get(VALIDATORS_KEY)}
            state = executed.state.update({VALIDATORS_KEY: value})
            return executed._replace(state=state, writes=writes, undo=undo)
        return executed

    monkeypatch.setattr(BlockExecution, "finish", finish)
    yield SETS


def expected(genesis: Genesis, height: int) -> ValidatorSet:
    """The set entitled to decide a block at ``height``: that of the state lag blocks before."""
    fixed_at = max(0, height - genesis.limits.validator_lag)
    elected = [at for at in SETS if at <= fixed_at]
    return SETS[max(elected)] if elected else genesis.validator_set


@pytest.mark.parametrize("lag", [2, 3, 5])
@pytest.mark.parametrize("finalizes", [False, True])
@pytest.mark.usefixtures("elections")
def test_a_set_decides_lag_blocks_after_its_election(lag: int, finalizes: bool) -> None:
    genesis = make_genesis(validators=2, limits=Limits(validator_lag=lag))
    store = MemoryStore()
    ledger = open_ledger(genesis, store, finalizes=finalizes, flush_depth=1, flush_blocks=1)
    blocks = [ledger.genesis_block]
    for _ in range(14):
        block = grow(ledger, ledger.head())
        ledger.set_head(block.id)
        if finalizes:
            ledger.finalize(block.id, None)
        blocks.append(block)
    again = open_ledger(genesis, store, finalizes=finalizes, flush_depth=1, flush_blocks=1)
    for each in (ledger, again):
        for block in blocks[:13]:
            assert each.validators(block.id) == expected(genesis, block.height + 1)
            assert each.next_validators(block.id) == expected(genesis, block.height + 2)


@pytest.mark.usefixtures("elections")
def test_a_persisted_block_brings_the_set_that_it_elected() -> None:
    genesis = make_genesis(validators=2)
    store = MemoryStore()
    ledger = open_ledger(genesis, store)
    for _ in range(4):
        ledger.set_head(grow(ledger, ledger.head()).id)
    ledger.persist(b"r", (ledger.head(),))
    store.lose_unsynced()
    again = open_ledger(genesis, store)
    assert again.validator_set(SETS[2].hash) == SETS[2]
    assert again.validator_set(SETS[3].hash) == SETS[3]
