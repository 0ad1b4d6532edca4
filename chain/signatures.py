"""Signature verification: one rule, one library, one port.

The rule is ZIP-215's: exact enough for consensus (no two implementations of it disagree), and it
would allow batches. Everything in Moot that checks a signature goes through a Verifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Signed(NamedTuple):
    """One claim to check: public key (32 bytes), message, signature (64 bytes)."""

    public_key: bytes
    message: bytes
    signature: bytes


class Verifier(Protocol):
    """Checks signatures in batches, so that worker processes or a simulator may stand behind it."""

    def verify(self, claims: Sequence[Signed]) -> list[bool]:
        """For each claim whether its signature is valid. Never raises on odd input."""
        ...
