"""The fast kernel against the plain one, and against Bitcoin's own first header."""

from __future__ import annotations

import itertools
import struct

from bitcoin.core import CBlockHeader
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.header import parse_header
from moot.miner import kernel
from moot.miner.workers import benchmark

BITCOIN_GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)
BITCOIN_NONCE = 2_083_236_893

headers = st.binary(min_size=80, max_size=80)
ranks = st.one_of(
    st.integers(0, kernel.RANKS - 1),
    st.integers(1, 2**16 - 1).map(lambda low: (low << 16) - 20),  # across a change of half
    st.just(kernel.RANKS - 50),
)


@settings(max_examples=200, deadline=None)
@given(headers, st.integers(0, 2**256 - 1), st.integers(1, 12), ranks, st.integers(0, 50))
def test_fast_and_plain_agree(
    header: bytes, target: int, shift: int, first: int, count: int
) -> None:
    count = min(count, kernel.RANKS - first)
    target >>= shift
    nonce = kernel.scan(header, target, first, count)
    assert nonce == kernel.scan_plainly(header, target, first, count)
    if nonce is not None:
        found = kernel.with_nonce(header, nonce)
        assert kernel.has_work(found, target)
        assert int.from_bytes(CBlockHeader.deserialize(found).GetHash(), "little") <= target


@given(st.integers(0, kernel.RANKS - 1))
def test_ranks_and_nonces_are_one_to_one(rank: int) -> None:
    assert kernel.nonce_of(kernel.nonce_of(rank)) == rank


def test_finds_satoshis_nonce() -> None:
    rank = kernel.nonce_of(BITCOIN_NONCE)
    header = kernel.with_nonce(BITCOIN_GENESIS, 0)
    target = 0xFFFF << 208
    assert kernel.scan(header, target, rank - 70_000, 70_000) is None
    assert kernel.scan(header, target, rank - 70_000, 70_001) == BITCOIN_NONCE


def test_targets_at_both_ends() -> None:
    assert kernel.scan(BITCOIN_GENESIS, 2**256 - 1, 5, 1) == kernel.nonce_of(5)
    assert kernel.scan(BITCOIN_GENESIS, 0, 0, 1_000) is None
    assert kernel.scan(BITCOIN_GENESIS, 2**256 - 1, 5, 0) is None


def test_variants_roll_free_version_bits_then_time() -> None:
    """BIP320's sixteen bits; BIP23's rolled time once they are spent."""
    one = parse_header(next(kernel.variants(BITCOIN_GENESIS, 0, 1)))
    assert one.raw == BITCOIN_GENESIS
    first_second = list(itertools.islice(kernel.variants(BITCOIN_GENESIS, 0, 1), kernel.VARIANTS))
    assert len(set(first_second)) == kernel.VARIANTS
    for raw in (first_second[1], first_second[-1]):
        header = parse_header(raw)
        assert (header.version ^ one.version) & ~kernel.VERSION_MASK == 0
        assert header.time_s == one.time_s
    later = parse_header(next(kernel.variants(BITCOIN_GENESIS, kernel.VARIANTS, 1)))
    assert (later.version, later.time_s) == (one.version, one.time_s + 1)


def test_workers_never_share_a_variant() -> None:
    stride = 3
    seen: set[bytes] = set()
    for place in range(stride):
        mine = set(itertools.islice(kernel.variants(BITCOIN_GENESIS, place, stride), 1_000))
        assert len(mine) == 1_000 and not mine & seen
        seen |= mine


def test_time_is_never_rolled_past_its_field() -> None:
    header = BITCOIN_GENESIS[:68] + struct.pack("<I", 2**32 - 1) + BITCOIN_GENESIS[72:]
    assert list(kernel.variants(header, kernel.VARIANTS, 1)) == []


def test_benchmark_names_every_kernel() -> None:
    result = benchmark(seconds=0.02)
    assert [figure["name"] for figure in result["kernels"]] == list(kernel.KERNELS)
    assert all(figure["mhs"] > 0 for figure in result["kernels"])
    assert result["chosen"] in kernel.KERNELS
