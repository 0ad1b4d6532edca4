"""Building, signing, fees, and the file for signing without a network."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from chain import execution, mempool
from chain.bech32m import show_address
from chain.codec import UINT63_MAX
from chain.errors import InvalidEncoding, InvalidTransaction
from chain.genesis import Limits
from chain.hashing import show_id
from chain.transaction import BUNDLE, Transfer, parse_transaction
from wallet.build import (
    UnsignedTransaction,
    build,
    minimum_fee,
    parse_hex,
    payment,
    read_unsigned,
    show_memo,
    sign_transaction,
    sign_unsigned,
    signed_size,
    transfer,
    write_unsigned,
)
from wallet.development import development_key
from wallet.errors import WalletError

ALICE, BOB = development_key(0), development_key(1)
CHAIN = bytes(range(32))


def test_minimum_fee_rounds_up() -> None:
    assert minimum_fee(1, 1) == 1
    assert minimum_fee(1000, 7) == 7
    assert minimum_fee(1001, 1000) == 1001
    assert minimum_fee(999, 1) == 1
    assert minimum_fee(500, 0) == 0


@given(st.integers(1, 64 * 1024), st.integers(0, 10**12))
def test_minimum_fee_is_the_chains_and_the_mempools(size: int, rate: int) -> None:
    limits = Limits(fee_per_kilobyte_min=rate)
    assert minimum_fee(size, rate) == execution.fee_min(size, limits)
    assert minimum_fee(size, rate) == mempool.fee_min(size, rate)


@given(
    amount=st.integers(0, 2**62),
    nonce=st.integers(0, 2**63 - 1),
    rate=st.one_of(st.integers(0, 3000), st.integers(0, 10**12)),
    memo=st.binary(max_size=256),
)
def test_fee_is_the_least_that_pays_for_the_signed_size(
    amount: int, nonce: int, rate: int, memo: bytes
) -> None:
    unsigned = transfer(ALICE.address, BOB.address, amount, nonce, fee_per_kilobyte=rate, memo=memo)
    signed = sign_transaction(unsigned, ALICE, CHAIN)
    assert signed.size == signed_size(unsigned)
    assert signed.fee >= minimum_fee(signed.size, rate)
    if signed.fee > 0:
        less = transfer(
            ALICE.address,
            BOB.address,
            amount,
            nonce,
            fee=signed.fee - 1,
            fee_per_kilobyte=rate,
            memo=memo,
        )
        assert less.fee < minimum_fee(signed_size(less), rate)


def test_given_fee_is_kept() -> None:
    assert transfer(ALICE.address, BOB.address, 5, 0, fee=0, fee_per_kilobyte=1000).fee == 0
    assert transfer(ALICE.address, BOB.address, 5, 0, fee=77, fee_per_kilobyte=1000).fee == 77


def test_signature_covers_chain_and_contents() -> None:
    unsigned = transfer(ALICE.address, BOB.address, 5, 0, fee_per_kilobyte=1000, expiry=9)
    signed = sign_transaction(unsigned, ALICE, CHAIN)
    assert parse_transaction(signed.raw) == signed
    public = Ed25519PublicKey.from_public_bytes(ALICE.public_key)
    public.verify(signed.witness[0], unsigned.signing_bytes(CHAIN))
    with pytest.raises(InvalidSignature):
        public.verify(signed.witness[0], unsigned.signing_bytes(bytes(32)))


def test_only_the_sender_signs() -> None:
    unsigned = transfer(ALICE.address, BOB.address, 5, 0, fee_per_kilobyte=1000)
    with pytest.raises(InvalidTransaction, match="not the sender's"):
        sign_transaction(unsigned, BOB, CHAIN)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": -1}, "bad-amount"),
        ({"amount": 2**62 + 1}, "bad-amount"),
        ({"nonce": -1}, "bad-nonce"),
        ({"nonce": UINT63_MAX + 1}, "bad-nonce"),
        ({"fee": -1}, "bad-fee"),
        ({"fee": 2**62 + 1}, "bad-fee"),
        ({"fee_per_kilobyte": -1}, "bad-fee-rate"),
        ({"expiry": -1}, "bad-expiry"),
        ({"memo": bytes(257)}, "memo-too-long"),
        ({"recipient": bytes(32)}, "bad-address"),
        ({"recipient": b"\x02" + bytes(32)}, "bad-address"),
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], code: str) -> None:
    arguments: dict[str, Any] = {
        "sender": ALICE.address,
        "recipient": BOB.address,
        "amount": 1,
        "nonce": 0,
        "fee_per_kilobyte": 100_000,
    }
    with pytest.raises(InvalidTransaction) as caught:
        transfer(**(arguments | changes))
    assert caught.value.code == code


def test_several_payments_in_one() -> None:
    actions = [payment(BOB.address, amount) for amount in range(1, 101)]
    many = build(ALICE.address, actions, 0, fee_per_kilobyte=1000, mode=BUNDLE)
    assert parse_transaction(sign_transaction(many, ALICE, CHAIN).raw).actions == tuple(actions)
    with pytest.raises(InvalidTransaction, match="the fee must be"):
        build(ALICE.address, actions, 0, fee_per_kilobyte=2**61)
    for count in (0, 101):
        with pytest.raises(InvalidTransaction):
            build(ALICE.address, actions[:1] * count, 0, fee_per_kilobyte=1000)
    with pytest.raises(InvalidTransaction):
        build(ALICE.address, actions, 0, fee_per_kilobyte=1000, mode=2)


# --- offline ----------------------------------------------------------------------------------


def _file(memo: bytes = b"rent") -> str:
    unsigned = transfer(
        ALICE.address, BOB.address, 150_000_000, 3, fee_per_kilobyte=1000, memo=memo
    )
    return write_unsigned(UnsignedTransaction(unsigned, CHAIN, "rmoot"))


def test_offline_signing_gives_what_online_signing_gives() -> None:
    text = _file()
    unsigned = read_unsigned(text)
    assert unsigned.chain_id == CHAIN
    raw = sign_unsigned(text, ALICE)
    assert bytes.fromhex(raw) == sign_transaction(unsigned.transaction, ALICE, CHAIN).raw


def test_file_speaks_to_people() -> None:
    document = json.loads(_file())
    assert document["format"] == "moot-unsigned-transaction"
    assert document["chain_id"] == show_id(CHAIN)
    assert document["summary"]["sender"] == show_address(ALICE.address, "rmoot")
    assert document["summary"]["actions"] == [
        {
            "kind": "transfer",
            "recipient": show_address(BOB.address, "rmoot"),
            "amount": "1.5",
            "memo": "rent",
        }
    ]


def test_a_summary_that_lies_is_refused() -> None:
    document = json.loads(_file())
    document["summary"]["actions"][0]["amount"] = "0.15"
    with pytest.raises(WalletError) as caught:
        sign_unsigned(json.dumps(document), ALICE)
    assert caught.value.code == "false-summary"


def test_addresses_of_unknown_kinds_are_refused() -> None:
    unsigned = read_unsigned(_file()).transaction
    odd = Transfer(b"\x07" + bytes(32), 1)
    document = json.loads(_file())
    document["transaction"] = msgspec.structs.replace(unsigned, actions=(odd,)).raw.hex()
    with pytest.raises(InvalidTransaction) as caught:
        read_unsigned(json.dumps(document))
    assert caught.value.code == "bad-address"


def test_signed_transactions_are_not_signed_again() -> None:
    document = json.loads(_file())
    document["transaction"] = sign_unsigned(_file(), ALICE)
    with pytest.raises(WalletError) as caught:
        read_unsigned(json.dumps(document))
    assert caught.value.code == "already-signed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format", "other"),
        ("version", 2),
        ("prefix", "bc"),
        ("chain_id", "00"),
        ("transaction", "zz"),
        ("transaction", "00 00"),
        ("transaction", ""),
        ("extra", 1),
        ("summary", None),
    ],
)
def test_odd_files_are_refused(name: str, value: Any) -> None:
    document = json.loads(_file())
    document[name] = value
    with pytest.raises((WalletError, InvalidEncoding)):
        read_unsigned(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "\ud800", "{" * 10_000, " " * 600_000])
def test_things_that_are_no_files_are_refused(text: str) -> None:
    with pytest.raises(WalletError):
        read_unsigned(text)


def test_memos_cannot_disguise_themselves() -> None:
    assert show_memo("Miete März".encode()) == "Miete März"
    assert show_memo(b"\xff\x00") == "0xff00"
    assert show_memo(b"0xff00") == "0x" + b"0xff00".hex()
    assert show_memo(b"a\x1b[2J") == "0x" + b"a\x1b[2J".hex()
    assert show_memo("a\u202eb".encode()).startswith("0x")


def test_hex_is_strict() -> None:
    assert parse_hex("00ff") == b"\x00\xff"
    for text in ("0", "0g", "00 ff", "0x00"):
        with pytest.raises(InvalidEncoding):
            parse_hex(text)
