"""Addresses as people see them: bech32m (BIP350).

An address is ``prefix 1 kind data checksum``: the network's prefix, one symbol for the kind of
address (where Bitcoin has its witness version), 32 bytes in 52 symbols of five bits, and a checksum
of six. Where the checksum fails and one changed character would explain it, the error says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from chain.address import KEY, POLICY, PREFIXES, Address
from chain.errors import InvalidEncoding

CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_BECH32M: Final = 0x2BC830A3
CHECKSUM_BECH32: Final = 1
"""The constant of BIP173's older code, known here only to name that mistake."""
CHECKSUM_LENGTH: Final = 6
TEXT_LENGTH_MAX: Final = 90
"""BIP173's limit, up to which the code's error detection is proven."""
DATA_LENGTH: Final = 1 + 52
"""Symbols of an address: its kind, then 256 bits in fives with four bits of padding."""

_VALUE: Final = {symbol: value for value, symbol in enumerate(CHARSET)}
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def show_address(address: Address, prefix: str) -> str:
    """The address as text, under a network's human-readable ``prefix``."""
    assert len(address) == 33 and address[0] in (KEY, POLICY), "an address of a known kind"
    return encode_symbols(prefix, [address[0], *_regroup(address[1:], 8, 5)])


def parse_address(text: str, prefix: str | None = None) -> Address:
    """The address that ``text`` shows, its prefix being ``prefix`` (None: any network's).

    Raises InvalidEncoding with one of the codes malformed-address, mixed-case, wrong-prefix,
    bad-checksum, old-checksum, wrong-length, bad-padding, unknown-address-kind.
    """
    text = text.strip()
    found, symbols, constant = _split(text)
    if constant != CHECKSUM_BECH32M:
        raise _checksum_error(text, found, symbols, constant, prefix)
    _check_prefix(found, prefix)
    data = symbols[:-CHECKSUM_LENGTH]
    if len(data) != DATA_LENGTH:
        raise InvalidEncoding(
            "wrong-length",
            f"an address has {DATA_LENGTH} symbols between prefix and checksum, not {len(data)}",
        )
    if data[0] not in (KEY, POLICY):
        raise InvalidEncoding(
            "unknown-address-kind", f"address kind {data[0]} is not known (0: a key, 1: a policy)"
        )
    if data[-1] & 0b1111:
        raise InvalidEncoding("bad-padding", "the address ends in bits that should be zero")
    return bytes([data[0], *_regroup(data[1:], 5, 8)])


def encode_symbols(prefix: str, symbols: Sequence[int]) -> str:
    """BIP350's raw encoder: ``symbols`` are 0 to 31, ``prefix`` lower-case ASCII."""
    padded = [*_expand(prefix), *symbols, *([0] * CHECKSUM_LENGTH)]
    remainder = _polymod(padded) ^ CHECKSUM_BECH32M
    checksum = [(remainder >> 5 * (5 - position)) & 31 for position in range(CHECKSUM_LENGTH)]
    return prefix + "1" + "".join(CHARSET[symbol] for symbol in [*symbols, *checksum])


def decode_symbols(text: str) -> tuple[str, list[int]]:
    """BIP350's raw decoder: prefix and symbols without the checksum; raises InvalidEncoding."""
    prefix, symbols, constant = _split(text)
    if constant != CHECKSUM_BECH32M:
        raise _checksum_error(text, prefix, symbols, constant, None)
    return prefix, symbols[:-CHECKSUM_LENGTH]


def _split(text: str) -> tuple[str, list[int], int]:
    """Prefix, symbols with checksum, and the constant that the checksum came out as."""
    if len(text) > TEXT_LENGTH_MAX:
        raise InvalidEncoding(
            "malformed-address", f"{len(text)} characters, more than the {TEXT_LENGTH_MAX} allowed"
        )
    for position, character in enumerate(text):
        if not 33 <= ord(character) <= 126:
            raise InvalidEncoding(
                "malformed-address", f"character {position + 1} cannot stand in an address"
            )
    if text != text.lower() and text != text.upper():
        raise InvalidEncoding(
            "mixed-case", "an address is all lower case or all upper case, never mixed"
        )
    lowered = text.lower()
    separator = lowered.rfind("1")
    if separator < 1:
        raise InvalidEncoding(
            "malformed-address", "an address begins with a prefix and the digit 1"
        )
    prefix, body = lowered[:separator], lowered[separator + 1 :]
    if len(body) < CHECKSUM_LENGTH:
        raise InvalidEncoding("malformed-address", "the address is cut off: no room for a checksum")
    symbols = []
    for position, character in enumerate(body, start=separator + 2):
        value = _VALUE.get(character)
        if value is None:
            raise InvalidEncoding(
                "malformed-address",
                f"character {position} ({character!r}) is never used in an address",
            )
        symbols.append(value)
    return prefix, symbols, _polymod([*_expand(prefix), *symbols])


def _check_prefix(found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise InvalidEncoding(
            "wrong-prefix",
            f"this address is of another network: it begins with {found!r}, "
            f"and addresses here begin with {wanted!r}",
        )
    if wanted is None and found not in PREFIXES.values():
        known = ", ".join(repr(prefix) for prefix in PREFIXES.values())
        raise InvalidEncoding(
            "wrong-prefix", f"an address begins with one of {known}, not with {found!r}"
        )


def _checksum_error(
    text: str, prefix: str, symbols: list[int], constant: int, wanted: str | None
) -> InvalidEncoding:
    if constant == CHECKSUM_BECH32:
        return InvalidEncoding(
            "old-checksum", "this has the checksum of the older bech32 code, not bech32m's"
        )
    known = [wanted] if wanted is not None else list(PREFIXES.values())
    if prefix not in known and symbols:
        for candidate in known:
            if _polymod([*_expand(candidate), *symbols]) == CHECKSUM_BECH32M:
                return InvalidEncoding(
                    "bad-checksum",
                    f"the checksum is wrong: the address begins with {prefix!r}, "
                    f"but it was made to begin with {candidate!r}",
                )
    place = _locate(constant ^ CHECKSUM_BECH32M, len(symbols))
    if place is None:
        return InvalidEncoding(
            "bad-checksum", "the checksum is wrong: the address was mistyped or cut"
        )
    position, difference = place
    index = len(prefix) + 1 + position
    right = CHARSET[symbols[position] ^ difference]
    return InvalidEncoding(
        "bad-checksum",
        f"the checksum is wrong: character {index + 1} ({text[index]!r}) is probably mistyped"
        f" for {right!r}",
    )


def _locate(syndrome: int, count: int) -> tuple[int, int] | None:
    """The one symbol, and the difference to it, that explains ``syndrome``; else None.

    The code is linear, so a difference ``d`` at distance ``k`` from the end shifts the remainder
    by ``d`` carried through ``k`` zero symbols, whatever the other symbols are. The code's distance
    of five makes a single change unique; two changes are never taken for one.
    """
    for difference in range(1, 32):
        remainder = difference
        for distance in range(count):
            if remainder == syndrome:
                return count - 1 - distance, difference
            remainder = _step(remainder, 0)
    return None


def _step(remainder: int, value: int) -> int:
    top = remainder >> 25
    remainder = (remainder & 0x1FFFFFF) << 5 ^ value
    for bit, generator in enumerate(_GENERATOR):
        if top >> bit & 1:
            remainder ^= generator
    return remainder


def _polymod(values: Iterable[int]) -> int:
    remainder = 1
    for value in values:
        remainder = _step(remainder, value)
    return remainder


def _expand(prefix: str) -> list[int]:
    """BIP173: the high bits of each character, a zero, the low bits."""
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _regroup(values: Iterable[int], from_bits: int, to_bits: int) -> list[int]:
    """Groups of ``from_bits`` as groups of ``to_bits``, most significant first.

    Into fives the rest is padded with zeros; into eights the rest (checked by the caller) goes.
    """
    accumulator = bits = 0
    out = []
    for value in values:
        accumulator = (accumulator << from_bits | value) & 0xFFF
        bits += from_bits
        while bits >= to_bits:
            bits -= to_bits
            out.append(accumulator >> bits & ((1 << to_bits) - 1))
    if bits and to_bits < from_bits:
        out.append(accumulator << (to_bits - bits) & ((1 << to_bits) - 1))
    return out
