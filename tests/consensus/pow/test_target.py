"""Compact targets against python-bitcoinlib, and what must be refused."""

from __future__ import annotations

import pytest
from bitcoin.core import CheckProofOfWork, CheckProofOfWorkError
from bitcoin.core.serialize import compact_from_uint256, uint256_from_compact
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import InvalidBlock
from chain.header import parse_header
from consensus.pow.target import (
    TARGET_MAX,
    bits_from_target,
    hash_as_number,
    target_from_bits,
    work,
)

BITCOIN_GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)


@given(st.integers(1, TARGET_MAX))
def test_compact_form_is_bitcoins(target: int) -> None:
    bits = bits_from_target(target)
    assert bits == compact_from_uint256(target)
    assert target_from_bits(bits) == uint256_from_compact(bits)


@given(st.integers(1, TARGET_MAX))
def test_compact_form_rounds_down_by_less_than_a_32768th(target: int) -> None:
    rounded = target_from_bits(bits_from_target(target))
    assert rounded <= target < rounded + max(1, rounded >> 15)
    assert bits_from_target(rounded) == bits_from_target(target)


@given(st.integers(0, 2**32 - 1))
def test_any_bits_are_canonical_or_refused(bits: int) -> None:
    try:
        target = target_from_bits(bits)
    except InvalidBlock as error:
        assert error.code == "bad-bits"
    else:
        assert 1 <= target <= TARGET_MAX
        assert bits_from_target(target) == bits


@pytest.mark.parametrize(
    ("bits", "what"),
    [
        (0x00000000, "zero"),
        (0x01003456, "zero"),
        (0x1D000000, "zero"),
        (0x01FEDCBA, "negative"),
        (0x04923456, "negative"),
        (0x1D80FFFF, "negative"),
        (0x22010000, "256 bits"),
        (0xFF123456, "256 bits"),
        (0x01123456, "canonical"),
        (0x02000056 | 0x1200, "canonical"),
        (0x1D00007F, "canonical"),
    ],
)
def test_bad_bits_name_their_fault(bits: int, what: str) -> None:
    with pytest.raises(InvalidBlock, match=what) as caught:
        target_from_bits(bits)
    assert caught.value.code == "bad-bits"


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0x01120000, 0x12),
        (0x05009234, 0x92340000),
        (0x04123456, 0x12345600),
        (0x20123456, 0x123456 << 232),
        (0x1D00FFFF, 0xFFFF << 208),
        (0x207FFFFF, 0x7FFFFF << 232),
    ],
)
def test_known_bits(bits: int, target: int) -> None:
    assert target_from_bits(bits) == target
    assert bits_from_target(target) == bits


@given(st.integers(1, TARGET_MAX))
def test_work_is_the_expected_count_of_hashes(target: int) -> None:
    count = work(target)
    assert count * (target + 1) <= 2**256 < (count + 1) * (target + 1)


def test_bitcoins_first_block_has_work() -> None:
    header = parse_header(BITCOIN_GENESIS)
    target = target_from_bits(header.bits)
    assert hash_as_number(header.id) <= target
    assert work(target) == 0x100010001  # nChainWork of Bitcoin's block 0


@given(st.binary(min_size=32, max_size=32), st.integers(0x18, 0x1C), st.integers(1, 0x7FFFFF))
def test_hashes_compare_as_in_bitcoin(identifier: bytes, size: int, digits: int) -> None:
    identifier = identifier[:-6] + bytes(6)  # near the targets tried
    bits = bits_from_target(digits << 8 * (size - 3))
    try:
        CheckProofOfWork(identifier, bits)
        passes = True
    except CheckProofOfWorkError:
        passes = False
    assert (hash_as_number(identifier) <= target_from_bits(bits)) == passes
