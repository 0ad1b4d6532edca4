"""What an acceptor must not forget: one small record, replaced whole (section 2.5).

It is on disk before the promise or the acceptance that it holds is said (contract, law 2). A
proposer needs nothing more: its own ballot stands here as promised before anybody hears of it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain import codec
from chain.codec import Record, Uint
from chain.errors import DamagedStore, InvalidEncoding
from consensus.paxos.ballot import NO_BALLOT, Ballot
from consensus.paxos.messages import Certificate, Vote

FORMAT: Final = 1
RECORD_SIZE_MAX: Final = 512 * 1024
"""Bytes: one certificate of VALIDATORS_MAX signatures and some hundred bytes beside it."""


class PaxosRecord(Record, frozen=True):
    """The durable part of a node.

    ``height``: the one open height. ``promised``: nothing below it will be accepted.
    ``accepted``: the last vote at this height. ``decided``: the certificate of the block below, so
    that a lost Finalize is restated and whoever is behind is helped.
    """

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    height: Uint = 1
    promised: Ballot = NO_BALLOT
    accepted: Vote | None = None
    decided: Certificate | None = None

    @property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)


def parse_record(raw: bytes) -> PaxosRecord:
    """The record in ``raw``. Raises DamagedStore: then the node must not vote as if new."""
    try:
        return codec.decode(raw, PaxosRecord, RECORD_SIZE_MAX)
    except InvalidEncoding as error:
        raise DamagedStore(
            f"the engine's record cannot be read ({error.sentence}); restore it from a backup, or "
            "delete it and let the node listen until it may vote again"
        ) from None
