"""The one signature rule, ZIP-215, by a fast library or in plain Python.

Two verifiers that disagree on one odd signature fork the chain, so there is one rule, and what
stands behind the port is tested to be exactly that rule (docs/decisions/0003-one-verifier.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chain import ed25519_slow
from chain.signatures import Signed, Verifier

try:
    import ed25519_zebra
except ImportError:  # no wheel for this Python or machine
    _ed_verify: Callable[[bytes, bytes, bytes], bool] | None = None
else:
    _ed_verify = ed25519_zebra.ed_verify


class ZebraVerifier:
    """py-ed25519-zebra-bindings: about 40 microseconds a signature."""

    def __init__(self) -> None:
        assert _ed_verify is not None, "py-ed25519-zebra-bindings is not installed"
        self._verify = _ed_verify

    def verify(self, claims: Sequence[Signed]) -> list[bool]:
        """For each claim whether it is valid. Never raises on odd input."""
        verify = self._verify
        return [
            _well_formed(claim) and verify(claim.signature, claim.message, claim.public_key)
            for claim in claims
        ]


class SlowVerifier:
    """The same rule in plain Python: the oracle, and the stand-in where zebra has no wheel."""

    def verify(self, claims: Sequence[Signed]) -> list[bool]:
        """For each claim whether it is valid. Never raises on odd input."""
        return [
            _well_formed(claim)
            and ed25519_slow.verify(claim.public_key, claim.message, claim.signature)
            for claim in claims
        ]


def default_verifier() -> Verifier:
    """The fastest verifier that is installed here; all of them keep the same rule."""
    return SlowVerifier() if _ed_verify is None else ZebraVerifier()


def _well_formed(claim: Signed) -> bool:
    """Whether the claim has the types and lengths of a signature, a key and a message."""
    public_key, message, signature = claim
    return (
        isinstance(public_key, bytes)
        and isinstance(message, bytes)
        and isinstance(signature, bytes)
        and len(public_key) == 32
        and len(signature) == 64
    )
