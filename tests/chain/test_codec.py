"""One value, one encoding: whatever is accepted encodes back to the very same bytes."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chain import codec
from chain.address import POLICY, key_address, public_key_of
from chain.block import BLOCK_SIZE_MAX, Block, BlockHead, parse_block
from chain.codec import UINT63_MAX, Record, Uint
from chain.errors import Invalid, InvalidEncoding
from chain.genesis import Allocation, Era, Genesis, Limits
from chain.header import Header
from chain.manifest import CLAIMS_SIZE_MAX, Manifest
from chain.proof import Evidence, Proof
from chain.transaction import (
    ACTIONS_MAX,
    MEMO_SIZE_MAX,
    WITNESSES_MAX,
    Transaction,
    Transfer,
    parse_transaction,
)
from chain.validators import Validator, ValidatorSet

A = key_address(b"a" * 32)
TRANSFER = Transfer(A, 5, b"memo")
TRANSACTION = Transaction(A, 1, 2, 3, 0, (TRANSFER,), (bytes(64),))
HEADER = Header(1, b"p" * 32, b"m" * 32, 4, 5, 6)
MANIFEST = Manifest(7, 8, A, b"s" * 32, b"v" * 32, b"claims", 9, bytes(8))
BLOCK = Block(HEADER, MANIFEST, (TRANSACTION,), b"seal")
GENESIS = Genesis(
    1,
    "name",
    "dev",
    10,
    (Era(0, "pow", (("a", 1), ("b", "text"), ("c", -1))),),
    (Validator(A, 1, "ann"),),
    (Allocation(A, 11),),
    Limits(),
)
VALUES = [
    TRANSFER,
    TRANSACTION,
    HEADER,
    MANIFEST,
    BLOCK,
    BLOCK.head,
    GENESIS,
    Validator(A, 1),
    ValidatorSet((Validator(A, 1, "ann"),), b"seed"),
    Proof("pow", b"body"),
    Evidence("pbft", b"one", b"two"),
    Limits(),
]
KINDS = [Transaction, Block, BlockHead, Genesis, Header, Manifest, ValidatorSet, Proof, Transfer]


def refused(data: bytes, kind: type, code: str | None = None) -> None:
    with pytest.raises(InvalidEncoding) as caught:
        codec.decode(data, kind)
    assert caught.value.sentence
    if code is not None:
        assert caught.value.code == code


def accepted_or_refused(data: bytes, kind: type) -> None:
    try:
        value = codec.decode(data, kind)
    except InvalidEncoding:
        return
    assert codec.encode(value) == data


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_round_trip(value):
    data = codec.encode(value)
    again = codec.decode(data, type(value))
    assert again == value and type(again) is type(value) and codec.encode(again) == data


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_prefix_and_every_tail_is_refused(value):
    data = codec.encode(value)
    for length in range(0, len(data), 1 + len(data) // 200):
        refused(data[:length], type(value))
    for tail in (b"\0", b"\xc0", data):
        refused(data + tail, type(value))


@given(st.sampled_from(VALUES), st.data())
def test_a_changed_byte_is_refused_or_is_another_value(value, data):
    raw = bytearray(codec.encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    accepted_or_refused(bytes(raw), type(value))


@given(st.sampled_from(VALUES), st.integers(0, 400), st.binary(max_size=6), st.integers(0, 6))
def test_spliced_bytes_are_refused_or_are_another_value(value, place, inserted, removed):
    raw = codec.encode(value)
    place %= len(raw)
    accepted_or_refused(raw[:place] + inserted + raw[place + removed :], type(value))


@given(st.binary(max_size=300), st.sampled_from(KINDS))
@example(b"\xff", Transaction)
@example(b"\xc1", Transaction)
def test_random_bytes_never_raise_anything_else(data, kind):
    accepted_or_refused(data, kind)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(plain, st.sampled_from(KINDS))
def test_any_messagepack_is_refused_or_canonical(value, kind):
    accepted_or_refused(msgspec.msgpack.encode(value), kind)


class Pair(Record, frozen=True):
    number: Uint
    text: str = ""


NUMBERS = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, UINT63_MAX]


@pytest.mark.parametrize("number", NUMBERS)
def test_an_integer_has_one_encoding(number):
    canonical = codec.encode(Pair(number))
    widths = {b"\xcc": ">B", b"\xcd": ">H", b"\xce": ">I", b"\xcf": ">Q", b"\xd3": ">q"}
    longer = {
        b"\x92" + mark + struct.pack(width, number) + b"\xa0"
        for mark, width in widths.items()
        if number < 1 << 8 * struct.calcsize(width) - (mark == b"\xd3")
    }
    longer.discard(canonical)
    assert longer or number >= 2**32
    for data in longer:
        refused(data, Pair, "not-canonical")


def test_longer_lengths_than_needed_are_refused():
    for data in (
        b"\xdc\x00\x02\x01\xa1x",  # array 16
        b"\xdd\x00\x00\x00\x02\x01\xa1x",  # array 32
        b"\x92\x01\xd9\x01x",  # str 8
        b"\x92\x01\xda\x00\x01x",  # str 16
        b"\x92\x01\xdb\x00\x00\x00\x01x",  # str 32
    ):
        refused(data, Pair, "not-canonical")
    assert codec.decode(b"\x92\x01\xa1x", Pair) == Pair(1, "x")


def test_a_default_that_was_left_out_is_refused():
    refused(b"\x91\x01", Pair, "not-canonical")


@pytest.mark.parametrize(
    "data",
    [
        b"\x92\xcf\x80" + bytes(7) + b"\xa0",  # 2**63
        b"\x92\xff\xa0",  # -1
        b"\x92\xcb?\xf0" + bytes(6) + b"\xa0",  # 1.0
        b"\x92\xca?\x80\0\0\xa0",  # 1.0, short
        b"\x92\xc3\xa0",  # true
        b"\x92\xc0\xa0",  # nil
        b"\x92\x01\xc0",
        b"\x92\x01\xc4\x01x",  # bytes for text
        b"\x92\x01\xa1\xff",  # no UTF-8
        b"\x92\x01\xa3\xed\xa0\x80",  # half of a surrogate pair
        b"\x93\x01\xa0\x01",  # one field too many
        b"\x90",
        b"\x82\xa6number\x01\xa4text\xa0",  # a map of the same fields
        b"\x92\xd6\xff\0\0\0\0\xa0",  # a timestamp
        b"\x92\xc7\x05\x01abcde\xa0",  # an extension
        b"\xd6\xff\0\0\0\0",
        b"",
    ],
)
def test_other_types_are_malformed(data):
    refused(data, Pair, "malformed")


@pytest.mark.parametrize("kind", [Pair, Transaction, Genesis, Block])
@pytest.mark.parametrize("start", [b"", b"\x92\x01", b"\x93\x01\xa0", codec.encode(BLOCK)[:-5]])
@pytest.mark.parametrize("nest", [b"\x91", b"\x81\xa0", b"\x81", b"\xdc\x00\x01", b"\x9f"])
def test_deep_nesting_is_malformed(kind, start, nest):
    refused(start + nest * 100_000, kind, "malformed")
    refused(start + nest * 100_000 + b"\xc0", kind, "malformed")


@pytest.mark.parametrize("kind", [Pair, Transaction, Genesis, Block])
def test_huge_claimed_lengths_cost_nothing(kind):
    for mark in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        for start in (b"", b"\x92", b"\x92\x01", b"\x97" + codec.encode(A)):
            refused(start + mark + b"\xff\xff\xff\xff", kind, "malformed")
            refused(start + mark + b"\xff\xff\xff\xff" + bytes(100), kind, "malformed")


def test_the_size_limit_comes_before_any_work():
    data = codec.encode(Pair(1))
    assert codec.decode(data, Pair, len(data)) == Pair(1)
    with pytest.raises(InvalidEncoding) as caught:
        codec.decode(data, Pair, len(data) - 1)
    assert caught.value.code == "too-large"
    for parse, size in ((parse_transaction, 64 * 1024), (parse_block, BLOCK_SIZE_MAX)):
        with pytest.raises(InvalidEncoding) as caught:
            parse(bytes(size + 1))
        assert caught.value.code == "too-large"


BOUNDS = [
    msgspec.structs.replace(TRANSACTION, sender=A[:-1]),
    msgspec.structs.replace(TRANSACTION, sender=A + b"x"),
    msgspec.structs.replace(TRANSACTION, nonce=-1),
    msgspec.structs.replace(TRANSACTION, fee=UINT63_MAX + 1),
    msgspec.structs.replace(TRANSACTION, mode=2),
    msgspec.structs.replace(TRANSACTION, actions=()),
    msgspec.structs.replace(TRANSACTION, actions=(TRANSFER,) * (ACTIONS_MAX + 1)),
    msgspec.structs.replace(TRANSACTION, actions=(Transfer(A, -1),)),
    msgspec.structs.replace(TRANSACTION, actions=(Transfer(A, 1, bytes(MEMO_SIZE_MAX + 1)),)),
    msgspec.structs.replace(TRANSACTION, witness=(b"",) * (WITNESSES_MAX + 1)),
    msgspec.structs.replace(HEADER, previous=bytes(31)),
    msgspec.structs.replace(HEADER, nonce=2**32),
    msgspec.structs.replace(MANIFEST, extra_nonce=bytes(9)),
    msgspec.structs.replace(MANIFEST, extra_nonce=bytes(7)),
    msgspec.structs.replace(MANIFEST, claims=bytes(CLAIMS_SIZE_MAX + 1)),
    msgspec.structs.replace(BLOCK, seal=bytes(4_097)),
    msgspec.structs.replace(BLOCK.head, branch=(bytes(32),) * 33),
    msgspec.structs.replace(BLOCK.head, branch=(bytes(31),)),
    msgspec.structs.replace(GENESIS, name=""),
    msgspec.structs.replace(GENESIS, eras=()),
    Validator(A, -1),
    Validator(A, 2**32 + 1),
    Validator(A, 1, "n" * 65),
]


@pytest.mark.parametrize("value", BOUNDS, ids=lambda value: type(value).__name__)
def test_what_is_out_of_bounds_is_refused(value):
    refused(codec.encode(value), type(value), "malformed")


def test_an_unknown_action_tag_is_refused():
    raw = codec.encode(TRANSACTION)
    tagged = codec.encode(TRANSFER)
    assert raw.count(tagged) == 1 and tagged[1] == 0
    for tag in (1, 0x7F, 0xC0, 0xFF):
        refused(raw.replace(tagged, tagged[:1] + bytes([tag]) + tagged[2:]), Transaction)


def test_parsing_keeps_the_bytes():
    assert parse_transaction(TRANSACTION.raw).raw == TRANSACTION.raw
    assert parse_transaction(TRANSACTION.raw).id == TRANSACTION.id
    assert parse_block(BLOCK.raw).raw == BLOCK.raw and parse_block(BLOCK.raw) == BLOCK


def test_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(InvalidEncoding("a-code", "a sentence")))
    assert type(error) is InvalidEncoding and isinstance(error, Invalid)
    assert (error.code, error.sentence, str(error)) == ("a-code", "a sentence", "a sentence")


def test_only_key_addresses_have_a_key():
    assert public_key_of(A) == b"a" * 32
    with pytest.raises(InvalidEncoding) as caught:
        public_key_of(bytes([POLICY]) + bytes(32))
    assert caught.value.code == "not-a-key"
