"""The header is Bitcoin's own, byte for byte; python-bitcoinlib is the judge."""

from __future__ import annotations

import pytest
from bitcoin.core import CBlockHeader, b2lx
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import InvalidEncoding
from chain.hashing import parse_id, sha256, sha256d, show_id, tagged
from chain.header import HEADER_SIZE, Header, parse_header

GENESIS_MERKLE = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
BITCOIN = [
    (
        "genesis",
        Header(1, bytes(32), parse_id(GENESIS_MERKLE), 1_231_006_505, 0x1D00FFFF, 2_083_236_893),
        "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
    ),
    (
        "125552",
        Header(
            1,
            parse_id("00000000000008a3a41b85b8b29ad444def299fee21793cd8b9e567eab02cd81"),
            parse_id("2b12fcf1b09288fcaff797d71e950e71ae42b91e8bdb2304758dfcffc2b620e3"),
            1_305_998_791,
            0x1A44B9F2,
            2_504_433_986,
        ),
        "00000000000000001e8d6829a8a21adc5d38d0a473b144b6765798e61f98bd1d",
    ),
]
words = st.integers(0, 2**32 - 1)
hashes = st.binary(min_size=32, max_size=32)
headers = st.builds(Header, words, hashes, hashes, words, words, words)


@pytest.mark.parametrize(("name", "header", "identifier"), BITCOIN, ids=lambda item: str(item)[:9])
def test_real_blocks_of_bitcoin(name, header, identifier):
    assert show_id(header.id) == identifier
    assert parse_header(header.raw) == header


def test_the_bytes_of_block_125552():
    assert BITCOIN[1][1].raw.hex() == (
        "01000000"
        "81cd02ab7e569e8bcd9317e2fe99f2de44d49ab2b8851ba4a308000000000000"
        "e320b6c2fffc8d750423db8b1eb942ae710e951ed797f7affc8892b0f1fc122b"
        "c7f5d74df2b9441a42a14695"
    )


@given(headers)
def test_bitcoinlib_reads_and_writes_the_same(header):
    judged = CBlockHeader.deserialize(header.raw)
    assert judged.serialize() == header.raw
    assert judged.nVersion % 2**32 == header.version
    assert (judged.hashPrevBlock, judged.hashMerkleRoot) == (header.previous, header.merkle_root)
    assert (judged.nTime, judged.nBits, judged.nNonce) == (
        header.time_s,
        header.bits,
        header.nonce,
    )
    assert judged.GetHash() == header.id and b2lx(judged.GetHash()) == show_id(header.id)


@given(headers)
def test_round_trip(header):
    assert len(header.raw) == HEADER_SIZE
    again = parse_header(header.raw)
    assert again == header and again.id == header.id


@pytest.mark.parametrize("size", [0, 79, 81])
def test_a_header_has_80_bytes(size):
    with pytest.raises(InvalidEncoding) as caught:
        parse_header(bytes(size))
    assert caught.value.code == "malformed-header"


@given(hashes)
def test_ids_show_reversed(identifier):
    text = show_id(identifier)
    assert text == b2lx(identifier) and parse_id(text) == parse_id(text.upper()) == identifier


@pytest.mark.parametrize(
    "text",
    ["", "0" * 63, "0" * 65, "g" * 64, "0 " * 32, " " + "0" * 63, "0" * 62 + " \n", "é" * 64],
)
def test_an_id_is_64_hexadecimal_digits(text):
    with pytest.raises(InvalidEncoding) as caught:
        parse_id(text)
    assert caught.value.code == "malformed-id"


def test_hashes_have_their_published_values():
    assert sha256(b"abc").hex() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert sha256d(b"hello").hex() == (
        "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50"
    )


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_tagged_bytes_tell_lists_and_domains_apart(one, other):
    assert (tagged("d", *one) == tagged("d", *other)) == (one == other)
    assert tagged("d", *one) != tagged("e", *one)
    assert tagged("d", *one)[:64] == sha256(b"d") * 2
