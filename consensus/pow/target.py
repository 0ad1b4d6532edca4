"""Targets and Bitcoin's compact form of them ("bits", "nBits").

A target is the greatest hash, read as a 256-bit integer, that counts as work. Compact bits are a
base-256 floating point: the top byte is a length in bytes, the lower 23 bits the leading digits,
and bit 23 a sign that no target may carry. One target has one canonical form; any other form is
refused, as are negative, zero and overflowing ones (Bitcoin Core: ``arith_uint256::SetCompact``,
``GetCompact``, ``CheckProofOfWork``).
"""

from __future__ import annotations

from chain.errors import InvalidBlock

TARGET_MAX = 2**256 - 1

_SIGN = 0x0080_0000
_DIGITS = 0x007F_FFFF


def bits_from_target(target: int) -> int:
    """The canonical compact form, rounded down to three bytes of precision (target >= 1)."""
    assert 0 < target <= TARGET_MAX
    size = (target.bit_length() + 7) // 8
    digits = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if digits & _SIGN:  # the top bit would read as a sign: one more byte, one digit less
        digits >>= 8
        size += 1
    return size << 24 | digits


def target_from_bits(bits: int) -> int:
    """The target that ``bits`` stand for.

    Raises InvalidBlock("bad-bits") unless they are the canonical form of a target from 1 to
    2**256 - 1.
    """
    size, digits = bits >> 24, bits & _DIGITS
    if bits & _SIGN:
        raise InvalidBlock("bad-bits", f"bits {bits:#010x} stand for a negative target")
    target = digits >> 8 * (3 - size) if size <= 3 else digits << 8 * (size - 3)
    if target == 0:
        raise InvalidBlock("bad-bits", f"bits {bits:#010x} stand for a target of zero")
    if target > TARGET_MAX:
        raise InvalidBlock("bad-bits", f"bits {bits:#010x} stand for more than 256 bits")
    if bits_from_target(target) != bits:
        raise InvalidBlock("bad-bits", f"bits {bits:#010x} are not the canonical form of a target")
    return target


def work(target: int) -> int:
    """Hashes that a block at ``target`` takes on average: 2**256 // (target + 1).

    This is what a block adds to the work of its branch (Bitcoin Core: ``GetBlockProof``).
    """
    return 2**256 // (target + 1)


def hash_as_number(identifier: bytes) -> int:
    """A block id as the integer that is compared with a target (little-endian)."""
    return int.from_bytes(identifier, "little")
