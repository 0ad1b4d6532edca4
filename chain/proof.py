"""Proofs and evidence: what convinces a stranger. Their contents are their engine's."""

from __future__ import annotations

from typing import Annotated

import msgspec

from chain.codec import Record

PROOF_SIZE_MAX = 512 * 1024
"""Bytes of one proof: a certificate of a thousand signatures with room to spare."""
EVIDENCE_SIZE_MAX = 256 * 1024
"""Bytes of one side of an evidence."""


class Proof(Record, frozen=True):
    """Why a block is final. ``body`` is the canonical encoding of the engine's own proof type.

    Stored beside the block, never hashed into it.
    """

    engine: str
    body: Annotated[bytes, msgspec.Meta(max_length=PROOF_SIZE_MAX)]


class Evidence(Record, frozen=True):
    """Two signed messages of one key that its engine's rules call contradictory, kept as sent."""

    engine: str
    first: Annotated[bytes, msgspec.Meta(max_length=EVIDENCE_SIZE_MAX)]
    second: Annotated[bytes, msgspec.Meta(max_length=EVIDENCE_SIZE_MAX)]
