"""The one canonical encoding: MessagePack of frozen, array-like structs.

What is decoded must encode back to the same bytes, else it is refused: so one value has one
encoding, and one encoding is hashed, sent and stored. There are no floats and no maps in it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, TypeVar, cast

import msgspec

from chain.errors import InvalidEncoding

T = TypeVar("T")

UINT63_MAX = 2**63 - 1
"""The largest integer in hashed data: it fits a signed 64-bit word everywhere."""

Uint = Annotated[int, msgspec.Meta(ge=0, le=UINT63_MAX)]
Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Hash = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


class Record(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    omit_defaults=False,
):
    """Base of everything that has a canonical encoding: a fixed array of fields, in order."""


_encoder = msgspec.msgpack.Encoder()


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def encode(value: Any) -> bytes:
    """The canonical bytes of a struct (or of a tuple of structs, integers, bytes, strings)."""
    return _encoder.encode(value)


def decode(data: bytes, kind: type[T], size_max: int | None = None) -> T:
    """The value whose canonical encoding is ``data``.

    Raises InvalidEncoding when ``data`` is longer than ``size_max`` bytes, is no MessagePack, has
    other fields than ``kind``, or is not the one canonical encoding of its value.
    """
    if size_max is not None and len(data) > size_max:
        raise InvalidEncoding("too-large", f"{len(data)} bytes where at most {size_max} may be")
    try:
        value: T = _decoder(cast(Any, kind)).decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidEncoding("malformed", f"not an encoded {_name(kind)}: {error}") from None
    if _encoder.encode(value) != data:
        raise InvalidEncoding("not-canonical", f"not the canonical encoding of a {_name(kind)}")
    return value


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
