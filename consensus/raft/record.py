"""What a server must not forget: one small record, replaced whole.

Figure 2 names three durable things: the current term, the vote in it, and the log. Here the log is
the chain, so its tip names all of it; record and blocks are one synced write, so that no crash
leaves a term without its log, or a log without its term (hashicorp/raft#661).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Hash, Record, Uint
from chain.errors import DamagedStore, InvalidEncoding
from chain.hashing import ZERO_HASH

FORMAT: Final = 1
RECORD_SIZE_MAX: Final = 1_024
"""Bytes: a term, an address, an id and a height."""


class RaftRecord(Record, frozen=True):
    """The durable part of a server.

    ``term``: the latest term seen. ``voted_for``: who got this server's vote in it; the own
    address also where there is no vote to give. ``tip`` and ``height``: the log's last entry; 32
    zero bytes and 0: genesis.
    """

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    term: Uint = 0
    voted_for: Address | None = None
    tip: Hash = ZERO_HASH
    height: Uint = 0

    @property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)


def parse_record(raw: bytes) -> RaftRecord:
    """The record in ``raw``. Raises DamagedStore: then the node must not vote as if new."""
    try:
        return codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)
    except InvalidEncoding as error:
        raise DamagedStore(
            f"the engine's record cannot be read ({error.sentence}); restore it from a backup, or "
            "delete it and let the node listen until it may vote again"
        ) from None
