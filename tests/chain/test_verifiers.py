"""One rule, ZIP-215: zebra is exactly it, and the plain Python code is too.

The vectors are written down in tests/vectors/ed25519.json; ``python tests/chain/test_verifiers.py``
prints them anew from the plain code.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import ed25519_slow as slow
from chain import verifiers
from chain.signatures import Signed
from chain.verifiers import SlowVerifier, ZebraVerifier, default_verifier

VECTORS = Path(__file__).parents[1] / "vectors" / "ed25519.json"
VERIFIERS = [SlowVerifier(), ZebraVerifier()]


def torsion_points() -> list[slow.Point]:
    """The eight points of small order, as multiples of one of order 8."""
    y = 2
    while True:
        point = slow.decompress(y.to_bytes(32, "little"))
        if point is not None:
            generator = slow.multiply(slow.L, point)
            if not slow.same(slow.multiply(4, generator), slow.IDENTITY):
                return [slow.multiply(number, generator) for number in range(8)]
        y += 1


def torsion_encodings() -> list[bytes]:
    """Every 32 bytes that decode to a point of small order: ZIP-215 counts 14 of them.

    Besides the canonical ones: y + p where it fits 255 bits, and the needless sign on x = 0.
    """
    encodings: dict[bytes, None] = {}
    points = torsion_points()
    for point in points:
        encodings[slow.compress(point)] = None
    for canonical in list(encodings):
        number = int.from_bytes(canonical, "little")
        y = number & ((1 << 255) - 1)
        for other in (y, y + slow.P):
            for sign in (0, 1):
                if other < 1 << 255:
                    encodings[(other | sign << 255).to_bytes(32, "little")] = None
    return list(encodings)


def cryptography_accepts(claim: Signed) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(claim.public_key).verify(claim.signature, claim.message)
    except (InvalidSignature, ValueError):
        return False
    return True


def claims_of_zip215() -> list[Signed]:
    encodings = torsion_encodings()
    return [Signed(key, b"Zcash", nonce + bytes(32)) for key in encodings for nonce in encodings]


def test_there_are_14_encodings_of_small_order():
    encodings = torsion_encodings()
    assert len(encodings) == 14
    points = [slow.decompress(encoding) for encoding in encodings]
    for point in points:
        assert point is not None
        assert slow.same(slow.multiply(8, point), slow.IDENTITY)
    canonical = [slow.compress(p) == e for p, e in zip(points, encodings, strict=True) if p]
    assert Counter(canonical) == {True: 8, False: 6}


@pytest.mark.parametrize("verifier", VERIFIERS, ids=["slow", "zebra"])
def test_zip215_accepts_all_196_small_order_cases(verifier):
    assert verifier.verify(claims_of_zip215()) == [True] * 196


def test_the_deliberate_differences_to_cryptography():
    """OpenSSL compares encodings and checks the cofactorless equation; so it refuses here.

    A node that used it for one of these would leave the chain: that is why one library verifies.
    """
    claims = claims_of_zip215()
    refused = [claim for claim in claims if not cryptography_accepts(claim)]
    assert len(refused) == 184, "it lets 12 of them pass, by the chance of k modulo the order"
    non_canonical = [
        claim
        for claim in claims
        if slow.compress(slow.decompress(claim.signature[:32])) != claim.signature[:32]
    ]
    assert all(not cryptography_accepts(claim) for claim in non_canonical), (
        "it recomputes R and compares bytes, so no other encoding of R passes"
    )


def load(group: str) -> list[dict[str, str]]:
    return json.loads(VECTORS.read_text())[group]


def claim_of(case: dict[str, str]) -> Signed:
    return Signed(*(bytes.fromhex(case[name]) for name in ("public_key", "message", "signature")))


@pytest.mark.parametrize("verifier", VERIFIERS, ids=["slow", "zebra"])
@pytest.mark.parametrize("case", load("rfc8032"), ids=lambda case: case["name"])
def test_rfc8032(verifier, case):
    claim = claim_of(case)
    assert verifier.verify([claim]) == [True]
    assert verifier.verify([claim._replace(message=claim.message + b"\0")]) == [False]
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(case["secret"]))
    assert key.public_key().public_bytes_raw() == claim.public_key
    assert key.sign(claim.message) == claim.signature


@pytest.mark.parametrize("verifier", VERIFIERS, ids=["slow", "zebra"])
@pytest.mark.parametrize("case", load("edges"), ids=lambda case: case["name"])
def test_edges(verifier, case):
    assert verifier.verify([claim_of(case)]) == [case["valid"]]


@pytest.mark.parametrize("case", load("edges"), ids=lambda case: case["name"])
def test_edges_say_where_cryptography_differs(case):
    assert cryptography_accepts(claim_of(case)) == case["cryptography"]


def test_the_vectors_are_what_the_plain_code_makes():
    assert load("edges") == make_edges()


@pytest.mark.parametrize("verifier", VERIFIERS, ids=["slow", "zebra"])
def test_odd_input_is_false_never_an_exception(verifier):
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    odd = [
        Signed(b"", b"m", signature),
        Signed(public + b"\0", b"m", signature),
        Signed(public, b"m", b""),
        Signed(public, b"m", signature + b"\0"),
        Signed("k" * 32, b"m", signature),  # type: ignore[arg-type]
        Signed(public, "m", signature),  # type: ignore[arg-type]
        Signed(public, b"m", None),  # type: ignore[arg-type]
        Signed(bytearray(public), b"m", signature),  # type: ignore[arg-type]
    ]
    assert verifier.verify(odd) == [False] * len(odd)
    assert verifier.verify([]) == []
    good = Signed(public, b"m", signature)
    assert verifier.verify([odd[0], good, odd[1]]) == [False, True, False], "each for itself"
    assert not slow.verify(public, b"m", b"short") and not slow.verify(b"short", b"m", signature)


def test_the_default_is_zebra_where_it_is_installed(monkeypatch):
    assert isinstance(default_verifier(), ZebraVerifier)
    monkeypatch.setattr(verifiers, "_ed_verify", None)
    assert isinstance(default_verifier(), SlowVerifier)


TORSION = torsion_encodings()
TORSION_POINTS = torsion_points()


@settings(max_examples=150, deadline=None)
@given(
    seed=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=64),
    flips=st.lists(st.integers(0, 96 * 8 - 1), max_size=2),
    nonce=st.none() | st.sampled_from(TORSION),
    public=st.none() | st.sampled_from(TORSION),
    turns=st.integers(0, 2),
)
def test_slow_and_zebra_agree_on_mutations(seed, message, flips, nonce, public, turns):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(message)
    s = int.from_bytes(signature[32:], "little") + turns * slow.L
    signature = (nonce or signature[:32]) + s.to_bytes(32, "little")
    whole = bytearray((public or key.public_key().public_bytes_raw()) + signature)
    for flip in flips:
        whole[flip // 8] ^= 1 << flip % 8
    claim = Signed(bytes(whole[:32]), message, bytes(whole[32:]))
    result = SlowVerifier().verify([claim])
    assert ZebraVerifier().verify([claim]) == result
    if turns or flips:
        return
    if nonce is None and public is None:
        assert result == [True]


@settings(max_examples=60, deadline=None)
@given(
    scalar=st.integers(1, slow.L - 1),
    nonce=st.integers(1, slow.L - 1),
    key_torsion=st.integers(0, 7),
    nonce_torsion=st.integers(0, 7),
    message=st.binary(max_size=32),
)
def test_mixed_order_points_are_judged_by_the_cofactored_equation(
    scalar, nonce, key_torsion, nonce_torsion, message
):
    claim = mixed_order(scalar, nonce, key_torsion, nonce_torsion, message)
    assert SlowVerifier().verify([claim]) == ZebraVerifier().verify([claim]) == [True]


def mixed_order(scalar: int, nonce: int, key_torsion: int, nonce_torsion: int, message: bytes):
    """A signature whose key and R have a part of small order each."""
    torsion = TORSION_POINTS
    public = slow.compress(slow.add(slow.multiply(scalar, slow.BASE), torsion[key_torsion]))
    r = slow.compress(slow.add(slow.multiply(nonce, slow.BASE), torsion[nonce_torsion]))
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % slow.L
    s = (nonce + k * scalar) % slow.L
    return Signed(public, message, r + s.to_bytes(32, "little"))


def number(value: int) -> bytes:
    return value.to_bytes(32, "little")


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
MESSAGE = b"Moot"


def cases_of_form() -> dict[str, tuple[bytes, bytes, bytes]]:
    """What may be wrong with a signature over ordinary points."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key()
    good = KEY.sign(MESSAGE)
    r, s = good[:32], int.from_bytes(good[32:], "little")
    off_curve = number(2)
    assert slow.decompress(off_curve) is None
    return {
        "good": (PUBLIC, MESSAGE, good),
        "empty message": (PUBLIC, b"", KEY.sign(b"")),
        "message of 1 KiB": (PUBLIC, bytes(1_024), KEY.sign(bytes(1_024))),
        "s plus L": (PUBLIC, MESSAGE, r + number(s + slow.L)),
        "s is L": (PUBLIC, MESSAGE, r + number(slow.L)),
        "s is L minus one": (PUBLIC, MESSAGE, r + number(slow.L - 1)),
        "s with its top bit": (PUBLIC, MESSAGE, r + number(s | 1 << 255)),
        "s with bit 252": (PUBLIC, MESSAGE, r + number(s | 1 << 252)),
        "s is all ones": (PUBLIC, MESSAGE, r + b"\xff" * 32),
        "s is zero": (PUBLIC, MESSAGE, r + bytes(32)),
        "truncated by one": (PUBLIC, MESSAGE, good[:-1]),
        "one byte too many": (PUBLIC, MESSAGE, good + b"\0"),
        "empty signature": (PUBLIC, MESSAGE, b""),
        "all zero signature": (PUBLIC, MESSAGE, bytes(64)),
        "key truncated": (PUBLIC[:-1], MESSAGE, good),
        "key too long": (PUBLIC + b"\0", MESSAGE, good),
        "wrong key": (other.public_bytes_raw(), MESSAGE, good),
        "wrong message": (PUBLIC, b"Mood", good),
        "R and S swapped": (PUBLIC, MESSAGE, good[32:] + r),
        "R negated": (PUBLIC, MESSAGE, bytes([*r[:31], r[31] ^ 0x80]) + good[32:]),
        "key negated": (bytes([*PUBLIC[:31], PUBLIC[31] ^ 0x80]), MESSAGE, good),
        "R off the curve": (PUBLIC, MESSAGE, off_curve + good[32:]),
        "key off the curve": (off_curve, MESSAGE, good),
        "R of another signature": (PUBLIC, MESSAGE, KEY.sign(b"Mood")[:32] + good[32:]),
    }


def cases_of_small_order() -> dict[str, tuple[bytes, bytes, bytes]]:
    """Points that have a part of small order, or another encoding than the canonical."""
    torsion = torsion_encodings()
    small = mixed_order(5, 7, 0, 0, MESSAGE)
    cases: dict[str, tuple[bytes, bytes, bytes]] = {
        "small scalars": small,
        "s is L where zero is good": (torsion[1], MESSAGE, torsion[1] + number(slow.L)),
        "s is zero where that is good": (torsion[1], MESSAGE, torsion[1] + number(0)),
        "key of small order": (torsion[1], MESSAGE, small.signature[:32] + number(7)),
        "key is the identity": (number(1), MESSAGE, slow.compress(slow.BASE) + number(1)),
        "key has a part of order 8": mixed_order(5, 7, 1, 0, MESSAGE),
        "R has a part of order 8": mixed_order(5, 7, 0, 1, MESSAGE),
        "key and R have parts of order 8": mixed_order(5, 7, 1, 3, MESSAGE),
        "key has a part of order 2": mixed_order(5, 7, 4, 0, MESSAGE),
    }
    nine = slow.compress(slow.multiply(9, slow.BASE))
    non_canonical = [e for e in torsion if slow.compress(slow.decompress(e)) != e]
    for index, encoding in enumerate(non_canonical):
        signature = encoding + number(_answer(encoding, PUBLIC, MESSAGE))
        cases[f"key non-canonical {index}"] = (encoding, MESSAGE, nine + number(9))
        cases[f"R non-canonical {index}"] = (PUBLIC, MESSAGE, signature)
    return cases


def make_edges() -> list[dict[str, object]]:
    """The edge cases, each with the rule's answer and with cryptography's."""
    return [
        {
            "name": name,
            "public_key": claim[0].hex(),
            "message": claim[1].hex(),
            "signature": claim[2].hex(),
            "valid": SlowVerifier().verify([Signed(*claim)])[0],
            "cryptography": cryptography_accepts(Signed(*claim)),
        }
        for name, claim in {**cases_of_form(), **cases_of_small_order()}.items()
    ]


def _answer(r: bytes, public: bytes, message: bytes) -> int:
    """The S that goes with an R of small order, under the key of make_edges."""
    digest = hashlib.sha512(bytes(range(32))).digest()[:32]
    scalar = int.from_bytes(digest, "little") & ((1 << 254) - 8) | 1 << 254
    assert slow.compress(slow.multiply(scalar, slow.BASE)) == public
    k = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % slow.L
    return k * scalar % slow.L


if __name__ == "__main__":
    print(json.dumps({"rfc8032": load("rfc8032"), "edges": make_edges()}, indent=1))
