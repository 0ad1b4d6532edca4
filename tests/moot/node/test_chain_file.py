"""The chain file: what is written is read back, and nothing else is taken for it."""

from __future__ import annotations

import io
from functools import lru_cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.block import Block
from chain.errors import InvalidEncoding
from chain.genesis import Limits
from chain.proof import Proof
from moot.node.chain_file import MAGIC, ChainFileReader, ChainFileWriter, StoredBlock
from tests.support.chains import grow, make_genesis, open_ledger, transfer

GENESIS = make_genesis(limits=Limits(block_size_max=4_000))


@lru_cache(maxsize=1)
def stored() -> tuple[StoredBlock, ...]:
    """Three blocks; the second has no proof."""
    ledger = open_ledger(GENESIS)
    blocks: list[Block] = []
    for height in range(1, 4):
        payment = transfer(ledger.chain_id, 0, 1, height, height - 1)
        parent = blocks[-1].id if blocks else ledger.head()
        blocks.append(grow(ledger, parent, [payment]))
    proofs = (Proof("test", b"one"), None, Proof("test", b"three"))
    return tuple(StoredBlock(*pair) for pair in zip(blocks, proofs, strict=True))


@lru_cache(maxsize=1)
def written() -> bytes:
    file = io.BytesIO()
    writer = ChainFileWriter(file, GENESIS)
    for block, proof in stored():
        writer.add(block, proof)
    writer.finish()
    return file.getvalue()


def read(raw: bytes) -> list[StoredBlock]:
    return list(ChainFileReader(io.BytesIO(raw)).blocks())


def code_of(raw: bytes) -> str:
    with pytest.raises(InvalidEncoding) as caught:
        read(raw)
    return caught.value.code


def test_blocks_and_proofs_come_back_as_they_were() -> None:
    reader = ChainFileReader(io.BytesIO(written()))
    assert reader.genesis == GENESIS
    assert tuple(reader.blocks()) == stored()
    assert reader.position == len(written())


def test_a_chain_of_genesis_alone_is_a_file_too() -> None:
    file = io.BytesIO()
    ChainFileWriter(file, GENESIS).finish()
    assert read(file.getvalue()) == []


def test_each_fault_has_its_code() -> None:
    raw = written()
    assert code_of(b"") == code_of(b"%PDF-1.7 and so on") == "not-a-chain-file"
    assert code_of(MAGIC) == "truncated"
    assert code_of(MAGIC + b"\x02" + raw[16:]) == "unknown-version"
    assert code_of(raw + b"x") == "trailing-data"
    assert code_of(raw[:-1] + bytes([raw[-1] ^ 1])) == "bad-checksum"
    assert code_of(raw[:-40] + (4).to_bytes(8, "big") + raw[-32:]) == "bad-count"
    assert code_of(raw[:16] + b"\xff" * 4 + raw[20:]) == "frame-too-large"
    assert code_of(raw[:20] + b"\xff" + raw[21:]) == "malformed"


def test_a_genesis_beyond_any_headers_time_is_refused() -> None:
    late = msgspec.structs.replace(GENESIS, time_ms=2**32 * 1000)
    file = io.BytesIO()
    ChainFileWriter(file, late).finish()
    assert code_of(file.getvalue()) == "malformed"


def test_lengths_are_bounded_by_what_genesis_allows() -> None:
    start = len(MAGIC) + 1 + 4 + len(GENESIS.raw)
    too_long = written()[:start] + (4_001).to_bytes(4, "big") + bytes(4_001)
    with pytest.raises(InvalidEncoding, match=r"at height 1 .* at most 4000"):
        read(too_long)


def test_a_block_in_another_ones_place_is_refused() -> None:
    file = io.BytesIO()
    writer = ChainFileWriter(file, GENESIS)
    first, second, _ = stored()
    raw = second.block.raw
    writer.add(first.block, None)
    file.write(len(raw).to_bytes(4, "big") + raw + bytes(4))
    file.write(len(raw).to_bytes(4, "big") + raw + bytes(4))
    assert code_of(file.getvalue()) == "not-linked"


def test_wherever_a_file_is_cut_what_came_before_is_still_read() -> None:
    raw, seen = written(), set()
    for end in range(len(raw)):
        try:
            reader = ChainFileReader(io.BytesIO(raw[:end]))
        except InvalidEncoding as error:
            assert error.code in ("truncated", "not-a-chain-file")
            continue
        taken = []
        with pytest.raises(InvalidEncoding) as caught:
            for each in reader.blocks():
                taken.append(each)
        assert caught.value.code == "truncated"
        assert tuple(taken) == stored()[: len(taken)]
        seen.add(len(taken))
    assert seen == {0, 1, 2, 3}


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
@settings(max_examples=300)
def test_no_changed_byte_passes_unnoticed(position: int, difference: int) -> None:
    raw = bytearray(written())
    raw[position % len(raw)] ^= difference
    with pytest.raises(InvalidEncoding):
        read(bytes(raw))


@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_are_an_error_and_nothing_else(noise: bytes) -> None:
    with pytest.raises(InvalidEncoding):
        read(MAGIC + b"\x01" + noise)
