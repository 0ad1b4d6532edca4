"""What a replica must not forget: one small record, replaced whole.

Everything a replica says follows from this record, so that after a restart it can only say the
same again. It is written before each statement leaves (contract, law 2).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.codec import Hash, Record, Uint
from chain.errors import DamagedStore, InvalidEncoding
from consensus.pbft.messages import CommitCertificate, DraftSignature, PreparedCertificate

FORMAT: Final = 1
RECORD_SIZE_MAX: Final = 1024 * 1024
"""Bytes: two certificates of VALIDATORS_MAX signatures and some hundred bytes beside them."""


class Choice(Record, frozen=True):
    """A block spoken for in a view, at the record's height."""

    view: Uint
    block_id: Hash


class Proposal(Record, frozen=True):
    """The pre-prepare that this replica accepted, with the primary's signature."""

    view: Uint
    block_id: Hash
    primary: Address
    signature: DraftSignature


class PbftRecord(Record, frozen=True):
    """The durable part of a replica.

    ``height`` is the one open height. ``view`` persists over heights; ``active`` is False from
    the view change for ``view`` until its new view (section 4.4). ``pre_prepare``, ``prepare``
    and ``commit`` are the last own statements at this height, ``proposal`` the accepted
    pre-prepare, ``prepared`` the certificate of the highest view at this height, ``decided`` the
    certificate of the block below. ``view_change_sent`` and ``new_view_sent`` name the (height,
    view) of the last own view change and new view; (0, 0): none yet.
    """

    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT
    height: Uint = 1
    view: Uint = 0
    active: bool = True
    proposal: Proposal | None = None
    pre_prepare: Choice | None = None
    prepare: Choice | None = None
    commit: Choice | None = None
    prepared: PreparedCertificate | None = None
    decided: CommitCertificate | None = None
    view_change_sent: tuple[Uint, Uint] = (0, 0)
    new_view_sent: tuple[Uint, Uint] = (0, 0)

    @property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)

    def at_height(self, height: int, decided: CommitCertificate | None) -> PbftRecord:
        """The record with ``height`` open and nothing said at it."""
        return PbftRecord(
            height=height,
            view=self.view,
            active=self.active,
            decided=decided,
            view_change_sent=self.view_change_sent,
            new_view_sent=self.new_view_sent,
        )


def parse_record(raw: bytes) -> PbftRecord:
    """The record in ``raw``. Raises DamagedStore: then the node must not vote as if new."""
    try:
        return codec.decode(raw, PbftRecord, RECORD_SIZE_MAX)
    except InvalidEncoding as error:
        raise DamagedStore(
            f"the engine's record cannot be read ({error.sentence}); restore it from a backup, or "
            "delete it and let the node listen until it may vote again"
        ) from None
