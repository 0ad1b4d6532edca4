"""Addresses as text: BIP350's own strings, an independent library, and every refusal."""

from __future__ import annotations

import bech32m as oracle
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chain.address import KEY, POLICY, PREFIXES, key_address
from chain.bech32m import (
    CHARSET,
    decode_symbols,
    encode_symbols,
    parse_address,
    show_address,
)
from chain.errors import InvalidEncoding

ADDRESS = key_address(bytes(range(32)))
TEXT = show_address(ADDRESS, "moot")

BIP350_VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
BIP350_INVALID = {
    "\x201xj0phk": "malformed-address",
    "\x7f1g6xzxy": "malformed-address",
    "\x801vctc34": "malformed-address",
    "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4": (
        "malformed-address"
    ),
    "qyrz8wqd2c9m": "malformed-address",
    "1qyrz8wqd2c9m": "malformed-address",
    "y1b0jsk6g": "malformed-address",
    "lt1igcx5c0": "malformed-address",
    "in1muywd": "malformed-address",
    "mm1crxm3i": "malformed-address",
    "au1s5cgom": "malformed-address",
    "M1VUXWEZ": "bad-checksum",
    "16plkw9": "malformed-address",
    "1p2gdwpf": "malformed-address",
}

keys = st.binary(min_size=32, max_size=32)
kinds = st.sampled_from([KEY, POLICY])
prefixes = st.sampled_from(sorted(PREFIXES.values()))


def refusal(text: str, prefix: str | None = None) -> InvalidEncoding:
    with pytest.raises(InvalidEncoding) as caught:
        parse_address(text, prefix)
    return caught.value


@pytest.mark.parametrize("text", BIP350_VALID)
def test_bip350_valid(text):
    prefix, symbols = decode_symbols(text)
    assert encode_symbols(prefix, symbols) == text.lower()


@pytest.mark.parametrize("text", BIP350_INVALID)
def test_bip350_invalid(text):
    with pytest.raises(InvalidEncoding) as caught:
        decode_symbols(text)
    assert caught.value.code == BIP350_INVALID[text]


@given(key=keys, kind=kinds, prefix=prefixes)
def test_round_trip_and_the_independent_library(key, kind, prefix):
    address = bytes([kind]) + key
    text = show_address(address, prefix)
    assert parse_address(text) == parse_address(text.upper(), prefix) == address
    assert parse_address(f"  {text}\n") == address
    # Its raw decoder: its segwit one insists on the older checksum for version 0.
    found, symbols, code = oracle.codecs.bech32_decode(text)
    assert found == prefix and code == oracle.codecs.Encoding.BECH32M and symbols[0] == kind
    assert bytes(oracle.codecs.convertbits(symbols[1:], 5, 8, False)) == key
    if kind == POLICY:
        judged = oracle.decode(prefix, text)
        assert (judged.witver, bytes(judged.witprog)) == (kind, key)


@given(key=keys, position=st.integers(0, 58), symbol=st.sampled_from(CHARSET))
def test_one_mistyped_character_is_found(key, position, symbol):
    text = show_address(key_address(key), "moot")
    index = len("moot1") + position
    assume(text[index] != symbol)
    error = refusal(text[:index] + symbol + text[index + 1 :], "moot")
    assert error.code == "bad-checksum"
    assert f"character {index + 1} ({symbol!r})" in error.sentence
    assert f"for {text[index]!r}" in error.sentence


@given(
    key=keys,
    places=st.lists(st.integers(0, 58), min_size=2, max_size=4, unique=True),
    shift=st.integers(1, 31),
)
def test_up_to_four_mistyped_characters_are_never_accepted(key, places, shift):
    text = list(show_address(key_address(key), "moot"))
    for place in places:
        index = len("moot1") + place
        text[index] = CHARSET[(CHARSET.index(text[index]) + shift) % 32]
    error = refusal("".join(text))
    assert error.code == "bad-checksum"
    if len(places) == 2:
        assert "character" not in error.sentence, "two are never taken for one (distance 5)"


@given(st.text(max_size=100))
def test_any_text_is_refused_with_a_sentence(text):
    assume(not text.strip().lower().startswith(("moot1", "tmoot1", "rmoot1")))
    assert refusal(text).sentence


def test_mixed_case():
    assert refusal(TEXT[:-1] + TEXT[-1].upper()).code == "mixed-case"
    assert refusal(TEXT[0].upper() + TEXT[1:]).code == "mixed-case"


def test_the_older_checksum_is_named():
    # BIP173's own example, and the same mistake under our prefix and length.
    assert refusal("a12uel5l").code == "old-checksum"


def test_another_networks_address_names_both_prefixes():
    error = refusal(show_address(ADDRESS, "tmoot"), "moot")
    assert error.code == "wrong-prefix"
    assert "'tmoot'" in error.sentence and "'moot'" in error.sentence


def test_a_foreign_coins_address_is_refused_without_a_wanted_prefix():
    error = refusal(encode_symbols("bc", [0] * 53))
    assert error.code == "wrong-prefix" and "'bc'" in error.sentence


def test_a_mistyped_prefix_is_named():
    error = refusal("mood1" + TEXT[5:])
    assert error.code == "bad-checksum"
    assert "'mood'" in error.sentence and "'moot'" in error.sentence


def test_wrong_length():
    assert refusal(encode_symbols("moot", [0] * 52)).code == "wrong-length"
    assert refusal(encode_symbols("moot", [0] * 54)).code == "wrong-length"
    assert refusal(encode_symbols("moot", [])).code == "wrong-length"


def test_padding_must_be_zero():
    _, symbols = decode_symbols(TEXT)
    for padding in range(1, 16):
        other = [*symbols[:-1], symbols[-1] | padding]
        assert refusal(encode_symbols("moot", other)).code == "bad-padding"


def test_unknown_kinds():
    _, symbols = decode_symbols(TEXT)
    for kind in range(2, 32):
        text = encode_symbols("moot", [kind, *symbols[1:]])
        assert refusal(text).code == "unknown-address-kind"


def test_a_character_that_no_address_has_is_named_by_place():
    error = refusal(TEXT[:9] + "b" + TEXT[10:])
    assert error.code == "malformed-address" and "character 10 ('b')" in error.sentence
    assert "character 3" in refusal("mo t1qq").sentence


def test_cut_off_and_empty():
    assert refusal("").code == "malformed-address"
    assert refusal("moot1qqq").code == "malformed-address"
    assert refusal(TEXT[:-1]).code == "bad-checksum"
    assert refusal("q" * 91).code == "malformed-address"
