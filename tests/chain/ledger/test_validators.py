"""Validator sets take effect ``lag`` blocks after the state that holds them, on each branch."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from chain.block import Block
from chain.genesis import Genesis, Limits
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.membership import MembershipRules
from chain.state.accounts import get_validators
from chain.storage.memory import MemoryStore
from chain.transaction import LEARNER, OUT, VOTER, MembershipVote
from chain.validators import Validator, ValidatorSet, validator_set
from tests.support.chains import address, grow, make_genesis, make_transaction, open_ledger

ONE_DECIDES = MembershipRules("at-once", lambda voters: 1)
V0, V1 = (Validator(address(n), 1, f"v{n}") for n in range(2))
NEW = Validator(address(5), 3, "new")
LATER = Validator(address(6), 0, "later")
VOTES = {
    2: MembershipVote(NEW.address, VOTER, NEW.weight, NEW.name),
    3: MembershipVote(V1.address, OUT),
    7: MembershipVote(LATER.address, LEARNER, 0, LATER.name),
}
"""What the first member wishes, alone, in the block at which height."""
SETS = {
    0: validator_set([V0, V1]),
    2: validator_set([V0, V1, NEW]),
    3: validator_set([V0, NEW]),
    7: validator_set([V0, NEW, LATER]),
}


def grow_voting(
    ledger: Ledger, parent: BlockId, votes: Mapping[int, MembershipVote] = VOTES, tag: int = 0
) -> Block:
    """A child of ``parent`` in which the first member votes, where one is due at its height."""
    vote = votes.get(ledger.height(parent) + 1)
    if vote is None:
        return grow(ledger, parent, tag=tag)
    nonce = ledger.account(V0.address, parent).nonce
    return grow(ledger, parent, [make_transaction(ledger.chain_id, 0, nonce, [vote])], tag=tag)


def expected(genesis: Genesis, height: int) -> ValidatorSet:
    """The set entitled to decide a block at ``height``: that of the state lag blocks before."""
    fixed_at = max(0, height - genesis.limits.validator_lag)
    return SETS[max(at for at in SETS if at <= fixed_at)]


@pytest.mark.parametrize("lag", [2, 3, 5])
@pytest.mark.parametrize("finalizes", [False, True])
def test_a_set_decides_lag_blocks_after_its_election(lag: int, finalizes: bool) -> None:
    genesis = make_genesis(validators=2, limits=Limits(validator_lag=lag))
    store = MemoryStore()

    def opened() -> Ledger:
        return open_ledger(
            genesis,
            store,
            finalizes=finalizes,
            flush_depth=1,
            flush_blocks=1,
            membership=ONE_DECIDES,
        )

    ledger = opened()
    blocks = [ledger.genesis_block]
    for _ in range(14):
        block = grow_voting(ledger, ledger.head())
        ledger.set_head(block.id)
        if finalizes:
            ledger.finalize(block.id, None)
        blocks.append(block)
    assert get_validators(ledger.state()) == SETS[7]
    for each in (ledger, opened()):
        for block in blocks[:13]:
            assert each.validators(block.id) == expected(genesis, block.height + 1)
            assert each.next_validators(block.id) == expected(genesis, block.height + 2)


def test_a_persisted_block_brings_the_set_that_it_elected() -> None:
    genesis = make_genesis(validators=2)
    store = MemoryStore()
    ledger = open_ledger(genesis, store, membership=ONE_DECIDES)
    for _ in range(4):
        ledger.set_head(grow_voting(ledger, ledger.head()).id)
    ledger.persist(b"r", (ledger.head(),))
    store.lose_unsynced()
    again = open_ledger(genesis, store, membership=ONE_DECIDES)
    assert again.validator_set(SETS[2].hash) == SETS[2]
    assert again.validator_set(SETS[3].hash) == SETS[3]


def test_each_branch_has_the_sets_that_it_elected() -> None:
    """Through reorganisations below the flushed base, and a restart."""
    genesis, store = make_genesis(validators=2), MemoryStore()
    other = {2: MembershipVote(V1.address, VOTER, 9, "v1"), 4: VOTES[7]}

    def opened() -> Ledger:
        return open_ledger(
            genesis,
            store,
            finalizes=False,
            flush_depth=2,
            flush_blocks=1,
            membership=ONE_DECIDES,
        )

    def branch(ledger: Ledger, votes: Mapping[int, MembershipVote], tag: int) -> list[Block]:
        blocks = [ledger.genesis_block]
        for _ in range(9):
            blocks.append(grow_voting(ledger, blocks[-1].id, votes, tag))
        return blocks

    ledger = opened()
    branches = [branch(ledger, VOTES, 0), branch(ledger, other, 1)]
    heavy = validator_set([V0, Validator(V1.address, 9, "v1")])
    late = validator_set([*heavy.members, LATER])
    by_height = {0: SETS[0], 1: SETS[0], 2: heavy, 3: heavy}
    for turn in range(3):
        for blocks in branches:
            ledger.set_head(blocks[-1].id)
            for block in branches[0][:9]:
                assert ledger.validators(block.id) == expected(genesis, block.height + 1)
            for block in branches[1][:9]:
                at = max(0, block.height + 1 - genesis.limits.validator_lag)
                assert ledger.validators(block.id) == by_height.get(at, late)
        if turn == 1:
            ledger = opened()
            for block in ledger.replay():
                ledger.insert(block, 1, (), replaying=True)
