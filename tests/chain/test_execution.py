"""What transactions and claims do to the state, and what they cannot do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.changes import LeaveJoint, Mint
from chain.errors import InvalidBlock, InvalidTransaction
from chain.execution import (
    ActionResult,
    BlockExecution,
    Credit,
    Executed,
    check_transaction,
    fee_min,
    total_supply,
)
from chain.genesis import COIN, SUPPLY_MAX, Genesis, Limits
from chain.ledger import genesis_state
from chain.membership import FIXED, MembershipRules
from chain.state.accounts import (
    VALIDATORS_KEY,
    Account,
    encode_validators,
    get_account,
    get_maturing,
    get_supply,
    get_validators,
)
from chain.state.tree import EMPTY, StateTree
from chain.transaction import ATOMIC, BUNDLE, Transaction, Transfer
from chain.validators import Validator, validator_set
from tests.support.chains import FEE, address, make_genesis, make_transaction, transfer

CHAIN = bytes(32)
GENESIS = make_genesis(accounts=3, balance=10 * COIN)
PRODUCER = address(9)


def begin(
    state: StateTree | None = None,
    *,
    height: int = 1,
    genesis: Genesis = GENESIS,
    membership: MembershipRules = FIXED,
) -> BlockExecution:
    return BlockExecution(
        genesis_state(genesis) if state is None else state,
        chain_id=CHAIN,
        limits=genesis.limits,
        height=height,
        time_ms=1,
        producer=PRODUCER,
        membership=membership,
    )


def pay(sender: int, recipient: int, amount: int, nonce: int, **more: int) -> Transaction:
    return transfer(CHAIN, sender, recipient, amount, nonce, signed=False, **more)


def many(sender: int, nonce: int, mode: int, *moves: tuple[int, int]) -> Transaction:
    actions = [Transfer(address(recipient), amount) for recipient, amount in moves]
    return make_transaction(CHAIN, sender, nonce, actions, mode=mode, signed=False)


def balances(executed: Executed, *numbers: int) -> list[int]:
    return [get_account(executed.state, address(number)).balance for number in numbers]


def refused(execution: BlockExecution, transaction: Transaction, code: str) -> None:
    """It raises ``code`` and changes nothing."""
    before = (execution.fees, execution.account(transaction.sender))
    with pytest.raises(InvalidTransaction) as caught:
        execution.apply(transaction)
    assert caught.value.code == code
    assert before == (execution.fees, execution.account(transaction.sender))


# ------------------------------------------------------------------------------ single transfers


def test_a_transfer_costs_amount_and_fee() -> None:
    execution = begin()
    receipt = execution.apply(pay(0, 1, COIN, 0))
    assert receipt.ok and receipt.code == "" and receipt.fee == FEE
    assert receipt.results == (ActionResult(True, ""),)
    executed = execution.finish(())
    assert balances(executed, 0, 1, 9) == [9 * COIN - FEE, 11 * COIN, FEE]
    assert get_account(executed.state, address(0)).nonce == 1
    assert (executed.fees, executed.reward) == (FEE, 0)
    assert executed.credits == (Credit(PRODUCER, FEE),)


def test_a_transfer_to_oneself_costs_the_fee_only() -> None:
    execution = begin()
    assert execution.apply(pay(0, 0, 9 * COIN, 0)).ok
    assert balances(execution.finish(()), 0) == [10 * COIN - FEE]


def test_one_can_send_everything_but_the_fee_and_no_more() -> None:
    execution = begin()
    assert execution.apply(pay(0, 1, 10 * COIN - FEE, 0)).ok
    receipt = execution.apply(pay(1, 2, 20 * COIN - FEE - FEE + 1, 0))
    assert (receipt.ok, receipt.code) == (False, "insufficient-funds")
    executed = execution.finish(())
    assert balances(executed, 0, 1) == [0, 20 * COIN - FEE - FEE]


def test_a_transfer_of_nothing_fails_and_costs_its_fee() -> None:
    execution = begin()
    receipt = execution.apply(pay(0, 1, 0, 0))
    assert (receipt.ok, receipt.code, receipt.fee) == (False, "zero-amount", FEE)
    executed = execution.finish(())
    assert balances(executed, 0, 1) == [10 * COIN - FEE, 10 * COIN]
    assert get_account(executed.state, address(0)).nonce == 1


def test_a_recipient_of_an_unknown_kind_is_not_paid() -> None:
    transaction = make_transaction(CHAIN, 0, 0, [Transfer(b"\x07" + bytes(32), 1)], signed=False)
    assert begin().apply(transaction).code == "unknown-recipient-kind"


def test_a_policy_address_can_be_paid() -> None:
    transaction = make_transaction(CHAIN, 0, 0, [Transfer(b"\x01" + bytes(32), 1)], signed=False)
    assert begin().apply(transaction).ok


def test_the_same_coins_cannot_be_spent_twice_in_one_block() -> None:
    execution = begin()
    assert execution.apply(pay(0, 1, 9 * COIN, 0)).ok
    assert execution.apply(pay(0, 2, 9 * COIN, 1)).code == "insufficient-funds"
    refused(execution, pay(0, 1, 9 * COIN, 0), "wrong-nonce-low")
    assert balances(execution.finish(()), 1, 2) == [19 * COIN, 10 * COIN]


def test_coins_received_in_a_block_can_be_spent_in_it() -> None:
    execution = begin()
    assert execution.apply(pay(0, 5, COIN, 0)).ok
    assert execution.apply(pay(5, 6, COIN // 2, 0)).ok
    assert balances(execution.finish(()), 5, 6) == [COIN // 2 - FEE, COIN // 2]


# ---------------------------------------------------------------------------------- may not be in


@pytest.mark.parametrize(
    ("transaction", "code"),
    [
        (pay(0, 1, 1, 1), "wrong-nonce-high"),
        (pay(0, 1, 1, 0, fee=11 * COIN), "insufficient-balance"),
        (pay(7, 1, 1, 0), "insufficient-balance"),
        (pay(0, 1, 1, 0, fee=1), "fee-below-minimum"),
        (pay(0, 1, 1, 0, expiry=1), "expired"),
    ],
)
def test_what_may_not_be_in_a_block(transaction: Transaction, code: str) -> None:
    execution = begin(height=2)
    refused(execution, transaction, code)
    executed = execution.finish(())
    assert executed.writes == {} and executed.receipts == ()
    assert executed.state.root == genesis_state(GENESIS).root


def test_only_a_key_can_send() -> None:
    transaction = Transaction(
        b"\x01" + bytes(32), 0, FEE, 0, ATOMIC, (Transfer(address(1), 1),), (bytes(64),)
    )
    refused(begin(), transaction, "bad-sender-kind")


def test_expiry_is_the_last_height_that_may_include_it() -> None:
    assert begin(height=5).apply(pay(0, 1, 1, 0, expiry=5)).ok
    refused(begin(height=6), pay(0, 1, 1, 0, expiry=5), "expired")
    assert begin(height=6).apply(pay(0, 1, 1, 0, expiry=0)).ok


def test_the_chain_limits_the_size_of_a_transaction() -> None:
    large = many(0, 0, ATOMIC, *[(1, 1)] * 20)
    limits = Limits(transaction_size_max=large.size, fee_per_kilobyte_min=0)
    check_transaction(large, limits, 1)
    with pytest.raises(InvalidTransaction) as caught:
        check_transaction(large, Limits(transaction_size_max=large.size - 1), 1)
    assert caught.value.code == "too-large"


def test_the_least_fee_is_rounded_up() -> None:
    limits = Limits(fee_per_kilobyte_min=10)
    assert [fee_min(size, limits) for size in (1, 100, 101, 1_000, 1_001)] == [1, 1, 2, 10, 11]
    least = fee_min(pay(0, 1, 1, 0, fee=200).size, GENESIS.limits)
    assert 128 < least < 255, "so that all fees here are encoded in two bytes"
    assert begin().apply(pay(0, 1, 1, 0, fee=least)).ok
    refused(begin(), pay(0, 1, 1, 0, fee=least - 1), "fee-below-minimum")


# ------------------------------------------------------------------------------- several actions


def test_atomic_does_all_or_nothing_and_keeps_the_fee() -> None:
    execution = begin()
    receipt = execution.apply(many(0, 0, ATOMIC, (1, COIN), (2, 10 * COIN), (1, 1)))
    assert (receipt.ok, receipt.code, receipt.fee) == (False, "insufficient-funds", FEE)
    assert [result.code for result in receipt.results] == [
        "undone",
        "insufficient-funds",
        "not-tried",
    ]
    executed = execution.finish(())
    assert balances(executed, 0, 1, 2) == [10 * COIN - FEE, 10 * COIN, 10 * COIN]


def test_bundle_does_each_by_itself() -> None:
    execution = begin()
    receipt = execution.apply(many(0, 0, BUNDLE, (1, COIN), (2, 10 * COIN), (1, 0), (2, 1)))
    assert (receipt.ok, receipt.code) == (False, "insufficient-funds")
    assert [(result.ok, result.code) for result in receipt.results] == [
        (True, ""),
        (False, "insufficient-funds"),
        (False, "zero-amount"),
        (True, ""),
    ]
    executed = execution.finish(())
    assert balances(executed, 0, 1, 2) == [9 * COIN - 1 - FEE, 11 * COIN, 10 * COIN + 1]


def test_one_recipient_may_be_paid_several_times_also_the_sender() -> None:
    execution = begin()
    assert execution.apply(many(0, 0, ATOMIC, (1, 1), (0, 5 * COIN), (1, 2), (0, 1))).ok
    assert balances(execution.finish(()), 0, 1) == [10 * COIN - 3 - FEE, 10 * COIN + 3]


# ------------------------------------------------------------------------------ rewards and fees


def test_fees_go_on_top_of_the_first_change() -> None:
    execution = begin()
    execution.apply(pay(0, 1, 1, 0))
    executed = execution.finish((Mint(address(7), 50, 0), Mint(address(8), 3, 1)))
    assert balances(executed, 7, 8, 9) == [50 + FEE, 3, 0]
    assert executed.reward == 53
    assert get_supply(executed.state) == total_supply(executed.state) == 30 * COIN + 53


def test_a_reward_waits_for_its_height_with_the_fees() -> None:
    execution = begin()
    execution.apply(pay(0, 1, 1, 0))
    first = execution.finish((Mint(address(7), 50, 3),))
    assert balances(first, 7) == [0]
    assert [entry.amount for entry in get_maturing(first.state, 3)] == [50 + FEE]
    assert get_supply(first.state) == total_supply(first.state) == 30 * COIN + 50
    second = begin(first.state, height=2).finish((Mint(address(8), 5, 3),))
    assert [entry.amount for entry in get_maturing(second.state, 3)] == [50 + FEE, 5]
    third = begin(second.state, height=3)
    assert third.account(address(7)).balance == 50 + FEE
    executed = third.finish(())
    assert balances(executed, 7, 8) == [50 + FEE, 5]
    assert get_maturing(executed.state, 3) == ()


def test_what_matures_can_be_spent_in_that_block() -> None:
    state = begin().finish((Mint(address(7), COIN, 2),)).state
    execution = begin(state, height=2)
    assert execution.apply(pay(7, 8, COIN - FEE, 0)).ok
    assert balances(execution.finish(()), 7, 8) == [0, COIN - FEE]


def test_no_block_mints_past_the_greatest_supply() -> None:
    room = SUPPLY_MAX - 30 * COIN
    assert begin().finish((Mint(address(7), room, 0),)).reward == room
    with pytest.raises(InvalidBlock) as caught:
        begin().finish((Mint(address(7), room + 1, 0),))
    assert caught.value.code == "supply-overflow"
    with pytest.raises(InvalidBlock):
        begin().finish((Mint(address(7), 2**63 - 1, 0), Mint(address(7), 2**63 - 1, 9)))


def test_amounts_near_the_limit_do_not_overflow() -> None:
    genesis = make_genesis(accounts=1, balance=SUPPLY_MAX)
    execution = begin(genesis=genesis)
    assert execution.apply(many(0, 0, ATOMIC, (1, 2**63 - 1))).code == "insufficient-funds"
    assert execution.apply(many(0, 1, ATOMIC, (1, SUPPLY_MAX - 2 * FEE), (0, 1))).code == (
        "insufficient-funds"
    )
    assert execution.apply(pay(0, 1, SUPPLY_MAX - 3 * FEE, 2)).ok
    assert total_supply(execution.finish(()).state) == SUPPLY_MAX


def test_a_joint_configuration_is_left_once() -> None:
    old, new = Validator(address(1), 1, "old"), Validator(address(2), 1, "new")
    joint = validator_set([new, Validator(address(3), 0)], outgoing=[old])
    state = EMPTY.update({VALIDATORS_KEY: encode_validators(joint)})
    executed = begin(state).finish((LeaveJoint(), Mint(address(7), 5, 0)))
    assert get_validators(executed.state) == validator_set(joint.members)
    assert executed.reward == 5 and executed.credits == (Credit(address(7), 5),)
    assert executed.state.update(executed.undo).root == state.root
    with pytest.raises(InvalidBlock) as caught:
        begin(executed.state, height=2).finish((LeaveJoint(),))
    assert caught.value.code == "not-joint"


def test_fees_go_to_the_producer_where_changes_mint_nothing() -> None:
    old = Validator(address(1), 1)
    joint = validator_set([old], outgoing=[old])
    state = genesis_state(make_genesis()).update({VALIDATORS_KEY: encode_validators(joint)})
    execution = begin(state)
    execution.apply(pay(0, 1, 1, 0))
    assert [credit.amount for credit in execution.finish((LeaveJoint(),)).credits] == [FEE]


def test_a_change_of_nothing_credits_nobody() -> None:
    executed = begin().finish((Mint(address(7), 0, 0),))
    assert executed.credits == () and executed.writes == {}


def test_an_account_that_is_emptied_before_its_first_nonce_leaves_no_entry() -> None:
    state = EMPTY
    executed = begin(state).finish((Mint(address(7), 5, 0),))
    assert executed.undo[b"a" + address(7)] is None
    back = executed.state.update(executed.undo)
    assert back.root == state.root


def test_a_finished_block_takes_no_more() -> None:
    execution = begin()
    execution.finish(())
    with pytest.raises(AssertionError):
        execution.apply(pay(0, 1, 1, 0))
    with pytest.raises(AssertionError):
        execution.finish(())


# ------------------------------------------------------------------------------------- properties

moves = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from((0, 1, COIN, 6 * COIN, 2**63 - 1))),
    min_size=1,
    max_size=4,
)
orders = st.lists(
    st.tuples(st.integers(0, 4), moves, st.sampled_from((ATOMIC, BUNDLE))), max_size=12
)
rewards = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, COIN), st.integers(0, 4)), max_size=3
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(orders, rewards), min_size=1, max_size=4))
def test_execution_conserves_the_supply_and_can_be_undone(
    blocks: list[tuple[list[tuple[int, list[tuple[int, int]], int]], list[tuple[int, int, int]]]],
) -> None:
    state, minted = genesis_state(GENESIS), 0
    for height, (sent, rewarded) in enumerate(blocks, 1):
        execution = begin(state, height=height)
        for sender, moved, mode in sent:
            nonce = execution.account(address(sender)).nonce
            try:
                execution.apply(many(sender, nonce, mode, *moved))
            except InvalidTransaction as error:
                assert error.code == "insufficient-balance"
        changes = tuple(Mint(address(n), a, height + later) for n, a, later in rewarded)
        executed = execution.finish(changes)
        minted += executed.reward
        assert executed.reward == sum(change.amount for change in changes)
        assert sum(credit.amount for credit in executed.credits) == executed.fees + executed.reward
        assert total_supply(executed.state) == get_supply(executed.state) == 30 * COIN + minted
        assert executed.state.update(executed.undo).root == state.root
        assert state.update(executed.writes).root == executed.state.root
        assert executed.writes.keys() == executed.undo.keys()
        state = executed.state


@settings(max_examples=40, deadline=None)
@given(orders)
def test_trying_what_does_not_fit_changes_nothing(
    sent: list[tuple[int, list[tuple[int, int]], int]],
) -> None:
    """A builder that tried many bad transactions makes the same block as one that did not."""
    eager, plain = begin(), begin()
    for sender, moved, mode in sent:
        account: Account = eager.account(address(sender))
        good = many(sender, account.nonce, mode, *moved)
        for bad in (
            many(sender, account.nonce + 1, mode, *moved),
            pay(sender, 1, 1, account.nonce, fee=SUPPLY_MAX),
        ):
            with pytest.raises(InvalidTransaction):
                eager.apply(bad)
        if account.balance >= FEE:
            assert eager.apply(good) == plain.apply(good)
    assert eager.finish(()).state.root == plain.finish(()).state.root
