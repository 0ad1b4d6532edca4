"""Genesis in people's form: what goes out comes in, and each mistake has its sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.address import PREFIXES, key_address
from chain.bech32m import show_address
from chain.errors import InvalidEncoding
from chain.genesis import FORMAT, SUPPLY_MAX, Allocation, Era, Genesis, Limits
from chain.genesis_file import GENESIS_FILE_SIZE_MAX, genesis_from_json, genesis_to_json
from chain.validators import Validator

A, B = key_address(b"a" * 32), key_address(b"b" * 32)
GENESIS = Genesis(
    format=FORMAT,
    name="a small town",
    network="dev",
    time_ms=1_700_000_000_123,
    eras=(Era(0, "pbft", (("block_interval_ms", 1_000), ("label", "x"))),),
    validators=(Validator(A, 1, "ann"), Validator(B, 2)),
    allocations=(Allocation(A, 150_000_000), Allocation(B, 1)),
    limits=Limits(),
    faucet=A,
)

integers = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=64)
addresses = st.binary(min_size=32, max_size=32).map(key_address)
eras = st.lists(
    st.tuples(
        integers,
        texts,
        st.dictionaries(texts, integers | st.integers(-100, -1) | texts, max_size=4),
    ),
    max_size=3,
    unique_by=lambda era: era[0],
).map(
    lambda later: tuple(
        Era(height, engine, tuple(sorted(parameters.items())))
        for height, engine, parameters in [
            (0, "pow", {}),
            *sorted((item for item in later if item[0]), key=lambda item: item[0]),
        ]
    )
)


@st.composite
def geneses(draw: st.DrawFn) -> Genesis:
    members = draw(st.lists(addresses, max_size=4, unique=True))
    owners = draw(st.lists(addresses, max_size=4, unique=True))
    return Genesis(
        FORMAT,
        draw(texts.filter(bool)),
        draw(st.sampled_from(sorted(PREFIXES))),
        draw(st.integers(0, 2**32 * 1000 - 1)),
        draw(eras),
        tuple(Validator(a, draw(st.integers(1, 2**32)), draw(texts)) for a in members),
        tuple(Allocation(a, draw(st.integers(0, SUPPLY_MAX // 4))) for a in owners),
        Limits(fee_per_kilobyte_min=draw(integers)),
        draw(st.none() | addresses),
    )


@settings(max_examples=60)
@given(geneses())
def test_round_trip(genesis):
    text = genesis_to_json(genesis)
    again = genesis_from_json(text)
    assert again == genesis and again.raw == genesis.raw
    assert genesis_to_json(again) == text


def test_the_form():
    people = json.loads(genesis_to_json(GENESIS))
    assert people["time"] == "2023-11-14T22:13:20.123Z"
    assert people["eras"][0]["parameters"] == {"block_interval_ms": 1_000, "label": "x"}
    assert [a["amount"] for a in people["allocations"]] == ["1.5", "0.00000001"]
    assert people["faucet"] == show_address(A, "rmoot")
    assert list(people)[:4] == ["format", "name", "network", "time"]


def test_what_may_be_left_out():
    people = json.loads(genesis_to_json(GENESIS))
    for name in ("time", "limits", "faucet"):
        del people[name]
    del people["validators"][0]["weight"]
    del people["validators"][1]["name"]
    again = genesis_from_json(json.dumps(people))
    assert again.limits == Limits() and again.faucet is None
    assert again.validators == GENESIS.validators


def change(path: str, value: object) -> str:
    """GENESIS as JSON with one thing changed; an Ellipsis deletes it."""
    people = json.loads(genesis_to_json(GENESIS))
    where = people
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in parents:
        where = where[part]
    if value is ...:
        del where[last]
    else:
        where[last] = value
    return json.dumps(people)


MISTAKES = [
    (change("name", ...), "genesis-json", "lacks the field 'name'"),
    (change("colour", 1), "genesis-json", "unknown field 'colour'"),
    (change("limits/speed", 1), "genesis-json", "limits has an unknown field 'speed'"),
    (change("eras/0/engnie", "x"), "genesis-json", "eras[0] has an unknown field 'engnie'"),
    (change("validators/0/address", ...), "genesis-json", "validators[0] lacks"),
    (change("allocations/1/address", 5), "genesis-json", "allocations[1].address must be a string"),
    (change("name", ""), "genesis-json", "out of bounds"),
    (change("name", "n" * 65), "genesis-json", "out of bounds"),
    (change("name", "\ud800"), "genesis-json", "surrogate"),
    (change("eras/0/parameters", {"\ud800": 1}), "genesis-json", "surrogate"),
    (change("format", True), "genesis-json", "format must be an integer"),
    (change("format", 1), "genesis-format", "format 1 where this Moot knows 2"),
    (change("network", "moon"), "genesis-network", "main"),
    (change("network", "main"), "wrong-prefix", "'moot'"),
    (change("time_ms", -1), "genesis-json", "time_ms must lie between"),
    (change("time_ms", 2**63), "genesis-json", "time_ms must lie between"),
    (change("time_ms", 1_700_000_000_124), "genesis-json", "different moments"),
    (change("time", "yesterday"), "genesis-json", "ISO 8601"),
    (change("time", "2023-11-14T22:13:20.123"), "genesis-json", "zone"),
    (change("eras", []), "genesis-json", "out of bounds"),
    (change("eras", {}), "genesis-json", "eras must be a list"),
    (change("eras/0/from_height", 1), "genesis-eras", "height 0"),
    (change("eras/0/parameters", [1]), "genesis-json", "must be an object"),
    (change("eras/0/parameters/label", None), "genesis-json", "parameters.label"),
    (change("eras/0/parameters/label", False), "genesis-json", "parameters.label"),
    (change("eras/0/parameters/label", 2**64), "genesis-json", "parameters.label"),
    (change("validators/0/weight", 0), "genesis-json", "validators[0].weight"),
    (change("validators/0/weight", 2**33), "genesis-json", "out of bounds"),
    (change("validators/1/address", show_address(A, "rmoot")), "genesis-validators", "twice"),
    (change("allocations/1/address", show_address(A, "rmoot")), "genesis-allocations", "twice"),
    (change("allocations/0/amount", "46200000000"), "genesis-allocations", "more coins"),
    (change("allocations/0/amount", "99999999999999999999"), "genesis-amount", "more coins"),
    (change("limits/block_size_max", 1), "genesis-json", "out of bounds"),
    (change("faucet", "rmoot1qqqqqq"), "bad-checksum", "faucet: "),
    ("", "genesis-json", "not JSON"),
    ("{", "genesis-json", "line 1"),
    ("[]", "genesis-json", "must be an object"),
    ("[" * 100_000, "genesis-json", "deep"),
    ('{"a": 1.5}', "genesis-json", "1.5 is not an integer"),
    ('{"a": NaN}', "genesis-json", "NaN"),
    ('{"a": 1, "a": 1}', "genesis-json", "twice"),
    ('{"a": ' + "9" * 5_000 + "}", "genesis-json", "too large"),
    (" " * (GENESIS_FILE_SIZE_MAX + 1), "genesis-json", "at most"),
    ("é" * (GENESIS_FILE_SIZE_MAX // 2 + 1), "genesis-json", "at most"),
]


@pytest.mark.parametrize(("text", "code", "words"), MISTAKES)
def test_each_mistake_has_its_sentence(text, code, words):
    with pytest.raises(InvalidEncoding) as caught:
        genesis_from_json(text)
    assert caught.value.code == code
    assert words in caught.value.sentence


@pytest.mark.parametrize(
    "amount", ["", ".5", "5.", "1.123456789", "-1", "+1", "1e3", " 1", "1,5", "٣", "0x1", 1, None]
)
def test_amounts_are_plain_decimal_strings(amount):
    with pytest.raises(InvalidEncoding) as caught:
        genesis_from_json(change("allocations/0/amount", amount))
    assert caught.value.code == "genesis-amount"
    assert "allocations[0].amount" in caught.value.sentence


@pytest.mark.parametrize(
    ("text", "units"), [("0", 0), ("1", 10**8), ("0.1", 10**7), ("007.50", 75 * 10**7)]
)
def test_amounts(text, units):
    genesis = genesis_from_json(change("allocations/0/amount", text))
    assert genesis.allocations[0].amount == units


def test_a_time_that_no_header_can_hold_is_refused():
    for time_ms in (2**32 * 1000, 2**62):
        text = change("time_ms", time_ms).replace('"time": "2023-11-14T22:13:20.123Z", ', "")
        with pytest.raises(InvalidEncoding) as caught:
            genesis_from_json(text)
        assert caught.value.code == "genesis-time"
