"""What makes a block unacceptable, whatever its engine says."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from chain.block import Block, parse_block
from chain.changes import Mint, StateChange
from chain.errors import InvalidBlock, InvalidTransaction
from chain.genesis import COIN, SUPPLY_MAX, Limits
from chain.ledger import Ledger, VerifiedSignatures, check_signatures, signature_claim
from chain.manifest import Manifest
from chain.state.accounts import VALIDATORS_KEY
from chain.transaction import Transaction, Transfer
from chain.verifiers import default_verifier
from tests.support.chains import (
    FEE,
    START_MS,
    TrustingVerifier,
    address,
    assemble,
    extend,
    grow,
    make_block,
    make_genesis,
    make_transaction,
    open_ledger,
    transfer,
)


def refuse(ledger: Ledger, block: Block, code: str, changes: tuple[StateChange, ...] = ()) -> None:
    """It raises ``code``, and the ledger is as it was."""
    before = (ledger.counts(), ledger.head())
    with pytest.raises(InvalidBlock) as caught:
        ledger.insert(block, 1, changes)
    assert caught.value.code == code
    assert not ledger.knows(block.id)
    assert ledger.children(block.previous) == ()
    counts = ledger.counts()
    assert counts | {"verified": 0} == before[0] | {"verified": 0} and ledger.head() == before[1]


def altered(
    block: Block, transactions: tuple[Transaction, ...] | None = None, **fields: object
) -> Block:
    """The block with other manifest fields (or transactions), its Merkle root put right."""
    manifest: Manifest = msgspec.structs.replace(block.manifest, **fields)
    kept = block.transactions if transactions is None else transactions
    return assemble(manifest, block.previous, kept)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda b: altered(b, height=2), "wrong-height"),
        (lambda b: altered(b, height=0), "wrong-height"),
        (lambda b: altered(b, time_ms=START_MS), "time-not-after-parent"),
        (lambda b: altered(b, state_root=bytes(32)), "wrong-state-root"),
        (lambda b: altered(b, next_validators=bytes(32)), "wrong-next-validators"),
        (lambda b: altered(b, reward=1), "wrong-reward"),
        (lambda b: altered(b, b.transactions[:1]), "wrong-state-root"),
        (lambda b: msgspec.structs.replace(b, transactions=b.transactions[:1]), "bad-merkle-root"),
        (
            lambda b: msgspec.structs.replace(b, transactions=b.transactions[::-1]),
            "bad-merkle-root",
        ),
        (lambda b: altered(b, b.transactions[::-1]), "invalid-transaction"),
        (lambda b: altered(b, (b.transactions[0],) * 2), "invalid-transaction"),
    ],
)
def test_a_wrong_block_is_refused(change: Callable[[Block], Block], code: str) -> None:
    ledger = open_ledger()
    good = make_block(
        ledger,
        ledger.head(),
        [transfer(ledger.chain_id, 0, 1, COIN, nonce, signed=False) for nonce in (0, 1)],
    )
    refuse(ledger, change(good), code)
    ledger.insert(good, 1, ())
    assert ledger.knows(good.id)


def test_a_mutated_merkle_tree_does_not_condemn_the_id() -> None:
    """CVE-2012-2459: the same id with a doubled last leaf; the honest body is still taken."""
    ledger = open_ledger()
    payments = [transfer(ledger.chain_id, 0, 1, 1, nonce) for nonce in (0, 1)]
    good = make_block(ledger, ledger.head(), payments)
    doubled = msgspec.structs.replace(good, transactions=(*payments, payments[-1]))
    assert doubled.id == good.id
    refuse(ledger, doubled, "mutated-merkle-tree")
    ledger.insert(good, 1, ())


def test_time_must_pass_by_a_millisecond_at_least() -> None:
    ledger = open_ledger()
    refuse(ledger, make_block(ledger, ledger.head(), time_ms=START_MS), "time-not-after-parent")
    ledger.insert(make_block(ledger, ledger.head(), time_ms=START_MS + 1), 1, ())


def test_a_block_is_no_larger_than_the_chain_allows() -> None:
    ledger = open_ledger(make_genesis(limits=Limits(block_size_max=1_000)))
    payments = [transfer(ledger.chain_id, 0, 1, 1, nonce) for nonce in range(8)]
    refuse(ledger, make_block(ledger, ledger.head(), payments), "block-too-large")
    ledger.insert(make_block(ledger, ledger.head(), payments[:2]), 1, ())


def test_a_reward_must_be_what_the_claims_mint() -> None:
    ledger = open_ledger()
    changes = (Mint(address(5), 50, 0), Mint(address(6), 7, 9))
    block = make_block(ledger, ledger.head(), changes=changes)
    refuse(ledger, block, "wrong-reward")
    ledger.insert(block, 1, changes)
    assert block.manifest.reward == 57


def test_no_block_mints_past_the_supply() -> None:
    ledger = open_ledger()
    block = make_block(ledger, ledger.head())
    refuse(ledger, block, "supply-overflow", (Mint(address(5), SUPPLY_MAX, 0),))


def test_a_double_spend_in_one_block() -> None:
    ledger = open_ledger()
    first = transfer(ledger.chain_id, 0, 1, 900 * COIN, 0)
    second = transfer(ledger.chain_id, 0, 2, 900 * COIN, 0)
    good = make_block(ledger, ledger.head(), [first])
    refuse(ledger, altered(good, (first, second)), "invalid-transaction")


@pytest.mark.parametrize("nonce", [1, 2, 2**63 - 1])
def test_a_gap_of_nonces(nonce: int) -> None:
    ledger = open_ledger()
    good = make_block(ledger, ledger.head())
    gap = transfer(ledger.chain_id, 0, 1, 1, nonce)
    refuse(ledger, altered(good, (gap,)), "invalid-transaction")


def test_an_expired_transaction() -> None:
    ledger = open_ledger()
    extend(ledger, 3)
    good = make_block(ledger, ledger.head())
    late = transfer(ledger.chain_id, 0, 1, 1, 0, expiry=3)
    refuse(ledger, altered(good, (late,)), "invalid-transaction")


def test_a_transaction_cannot_be_replayed_in_a_later_block() -> None:
    ledger = open_ledger()
    payment = transfer(ledger.chain_id, 0, 1, 1, 0)
    block = grow(ledger, ledger.head(), [payment])
    refuse(ledger, altered(make_block(ledger, block.id), (payment,)), "invalid-transaction")


def test_an_unknown_parent_is_our_mistake() -> None:
    ledger, other = open_ledger(), open_ledger()
    child = make_block(other, extend(other, 1)[0].id)
    with pytest.raises(KeyError):
        ledger.insert(child, 1, ())


def test_inserting_again_changes_nothing() -> None:
    ledger = open_ledger()
    block = grow(ledger, ledger.head(), weight=5)
    ledger.insert(block, 7, (Mint(address(1), 1, 0),))
    assert ledger.weight(block.id) == 5
    assert ledger.children(ledger.chain_id) == (block.id,)


# ------------------------------------------------------------------------------------- signatures


def test_signatures_are_checked_with_the_real_verifier() -> None:
    ledger = open_ledger(verifier=default_verifier())
    good = transfer(ledger.chain_id, 0, 1, COIN, 0)
    foreign = transfer(bytes(32), 0, 1, COIN, 0)
    unsigned = transfer(ledger.chain_id, 0, 1, COIN, 0, signed=False)
    for bad in (foreign, unsigned):
        refuse(ledger, make_block(ledger, ledger.head(), [bad]), "bad-signature")
        assert bad.id not in ledger.verified
    ledger.insert(make_block(ledger, ledger.head(), [good]), 1, ())
    assert good.id in ledger.verified


@pytest.mark.parametrize("witness", [(), (bytes(64), bytes(64)), (bytes(63),), (bytes(65),)])
def test_a_key_signs_with_exactly_one_signature(witness: tuple[bytes, ...]) -> None:
    ledger = open_ledger()
    payment = transfer(ledger.chain_id, 0, 1, COIN, 0)
    odd = msgspec.structs.replace(payment, witness=witness)
    refuse(ledger, make_block(ledger, ledger.head(), [odd]), "invalid-transaction")
    with pytest.raises(InvalidTransaction) as caught:
        signature_claim(odd, ledger.chain_id)
    assert caught.value.code == "wrong-witness"


def test_a_signature_is_verified_once_for_a_node() -> None:
    verifier = TrustingVerifier()
    ledger = open_ledger(verifier=verifier)
    payments = [transfer(ledger.chain_id, 0, 1, 1, nonce) for nonce in range(3)]
    ledger.verified.add(payments[0].id)
    block = grow(ledger, ledger.head(), payments)
    assert verifier.asked == 2
    sibling = grow(ledger, ledger.head(), payments, tag=1)
    assert verifier.asked == 2 and ledger.knows(block.id) and ledger.knows(sibling.id)


def test_another_signature_of_the_same_payment_is_another_transaction() -> None:
    """The id covers the witness, so remembering ids cannot let a bad signature through."""
    ledger = open_ledger(verifier=default_verifier())
    good = transfer(ledger.chain_id, 0, 1, COIN, 0)
    grow(ledger, ledger.head(), [good])
    forged = msgspec.structs.replace(good, witness=(bytes(64),))
    refuse_beside(ledger, make_block(ledger, ledger.head(), [forged]))


def refuse_beside(ledger: Ledger, block: Block) -> None:
    with pytest.raises(InvalidBlock) as caught:
        ledger.insert(block, 1, ())
    assert caught.value.code == "bad-signature"


def test_replayed_blocks_are_not_verified_again() -> None:
    verifier = TrustingVerifier()
    ledger = open_ledger(verifier=verifier)
    block = make_block(ledger, ledger.head(), [transfer(ledger.chain_id, 0, 1, 1, 0)])
    ledger.insert(block, 1, (), replaying=True)
    assert verifier.asked == 0


def test_remembered_signatures_are_bounded() -> None:
    verified = VerifiedSignatures(100)
    ids = [number.to_bytes(32, "big") for number in range(1_000)]
    for txid in ids:
        verified.add(txid)
        assert txid in verified
    assert len(verified) <= 100
    assert all(txid in verified for txid in ids[-50:])
    assert ids[0] not in verified


def test_good_signatures_of_a_bad_batch_are_remembered() -> None:
    ledger = open_ledger()
    good = transfer(ledger.chain_id, 0, 1, 1, 0)
    bad = transfer(ledger.chain_id, 0, 1, 1, 1, signed=False)
    verified = VerifiedSignatures()
    with pytest.raises(InvalidTransaction) as caught:
        check_signatures((good, bad), ledger.chain_id, default_verifier(), verified)
    assert caught.value.code == "bad-signature"
    assert good.id in verified and bad.id not in verified


# -------------------------------------------------------------------------------------- genesis


def test_the_genesis_block_commits_to_everything_in_the_genesis() -> None:
    genesis = make_genesis(validators=2)
    ids = {open_ledger(genesis).chain_id}
    for other in (
        make_genesis(validators=2, name="another"),
        make_genesis(validators=3),
        make_genesis(validators=2, accounts=5),
        make_genesis(validators=2, parameters=(("a", 1),)),
        make_genesis(validators=2, limits=Limits(validator_lag=3)),
        msgspec.structs.replace(genesis, faucet=address(0)),
        msgspec.structs.replace(genesis, time_ms=START_MS + 1),
    ):
        ids.add(open_ledger(other).chain_id)
    assert len(ids) == 8
    block = open_ledger(genesis).genesis_block
    assert (block.height, block.previous, block.manifest.reward) == (0, bytes(32), 0)
    assert parse_block(block.raw) == block
    block.check_body()


def test_validators_of_a_height_are_fixed_lag_blocks_before() -> None:
    genesis = make_genesis(validators=3)
    ledger = open_ledger(genesis)
    blocks = extend(ledger, 5)
    for block in (ledger.genesis_block, *blocks):
        assert ledger.validators(block.id) == genesis.validator_set
        assert ledger.next_validators(block.id) == genesis.validator_set
        assert block.manifest.next_validators == genesis.validator_set.hash
    assert ledger.validator_set(genesis.validator_set.hash) == genesis.validator_set
    assert ledger.validator_set(bytes(32)) is None
    assert ledger.state().get(VALIDATORS_KEY) is not None


def test_what_fails_inside_a_transaction_does_not_spoil_the_block() -> None:
    ledger = open_ledger()
    poor = make_transaction(ledger.chain_id, 0, 0, [Transfer(address(1), 2**63 - 1)])
    block = grow(ledger, ledger.head(), [poor])
    receipts = ledger.receipts(block.id)
    assert receipts is not None and receipts[0].code == "insufficient-funds"
    assert receipts[0].fee == FEE


def test_a_block_made_here_is_executed_once_and_still_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever made a block hands in how it came out; a forged outcome fails on the state root."""
    ledger = open_ledger()
    payment = transfer(ledger.chain_id, 0, 1, 5, 0)
    parent = ledger.header(ledger.head())
    execution = ledger.execution(
        ledger.head(), time_ms=parent.time_ms + 1_000, producer=address(1_000)
    )
    execution.apply(payment)
    executed = execution.finish(())
    block = make_block(ledger, ledger.head(), [payment])
    empty = make_block(ledger, ledger.head(), [], tag=1)
    ledger.built(block, executed)
    ledger.built(empty, executed)

    def again(*_: object, **__: object) -> None:
        raise AssertionError("executed a second time")

    monkeypatch.setattr(ledger, "execution", again)
    refuse(ledger, empty, "wrong-state-root")
    ledger.insert(block, 1, ())
    assert ledger.account(address(1), block.id).balance == 1_000 * COIN + 5
