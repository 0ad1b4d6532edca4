"""Ed25519 verification in plain Python, under ZIP-215's rule. Some milliseconds a signature.

The oracle for the fast library, and its stand-in where that has no wheel. Curve arithmetic after
RFC 8032 section 5.1 in extended homogeneous coordinates; the rule after ZIP-215:

1. public key and R may be *any* encoding of a curve point, canonical or not, of any order;
2. S must be below the group's order L;
3. the equation is the cofactored one: [8][S]B = [8]R + [8][k]A, with k = SHA-512(R, A, M) over the
   encodings as they were given.

Nothing secret passes through here, so nothing here is constant-time.
"""

from __future__ import annotations

import hashlib
from typing import Final

P: Final = 2**255 - 19
"""The field's prime."""
L: Final = 2**252 + 27742317777372353535851937790883648493
"""The order of the base point."""
D: Final = -121665 * pow(121666, P - 2, P) % P
_SQRT_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]
"""(X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z."""

IDENTITY: Final[Point] = (0, 1, 1, 0)


def decompress(encoding: bytes) -> Point | None:
    """The point of 32 bytes, or None where no curve point has that y.

    ZIP-215: y may be P or more (taken modulo P), and x = 0 may carry either sign.
    """
    number = int.from_bytes(encoding, "little")
    sign, y = number >> 255, (number & ((1 << 255) - 1)) % P
    numerator, denominator = (y * y - 1) % P, (D * y * y + 1) % P
    # RFC 8032 section 5.1.3: the candidate root of numerator / denominator in one power.
    cube = denominator * denominator % P * denominator % P
    power = pow(numerator * cube % P * cube % P * denominator % P, (P - 5) // 8, P)
    x = numerator * cube % P * power % P
    square = denominator * x % P * x % P
    if square == -numerator % P:
        x = x * _SQRT_MINUS_ONE % P
    elif square != numerator:
        return None
    if x & 1 != sign:
        x = -x % P
    return x, y, 1, x * y % P


def compress(point: Point) -> bytes:
    """The canonical encoding of a point."""
    x, y, z, _ = point
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def add(left: Point, right: Point) -> Point:
    """RFC 8032 section 5.1.4: the complete addition law."""
    x1, y1, z1, t1 = left
    x2, y2, z2, t2 = right
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * t2 * D % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(point: Point) -> Point:
    x, y, z, t = point
    return -x % P, y, z, -t % P


def multiply(scalar: int, point: Point) -> Point:
    """``scalar`` times ``point`` by double and add."""
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def same(left: Point, right: Point) -> bool:
    """Whether two points are equal, whatever their Z."""
    x1, y1, z1, _ = left
    x2, y2, z2, _ = right
    return (x1 * z2 - x2 * z1) % P == 0 and (y1 * z2 - y2 * z1) % P == 0


def _base() -> Point:
    point = decompress((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


BASE: Final[Point] = _base()


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is valid under ZIP-215; False for any other length."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    key_point, nonce_point = decompress(public_key), decompress(signature[:32])
    if key_point is None or nonce_point is None:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % L
    difference = add(multiply(s, BASE), negate(add(nonce_point, multiply(k, key_point))))
    return same(multiply(8, difference), IDENTITY)
