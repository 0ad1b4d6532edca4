"""Proof of work: Bitcoin's consensus, one block at a time, with per-block difficulty (ASERT).

Pages: docs/engines/pow.md. Papers: Nakamoto 2008; the aserti3-2d specification (Bitcoin Cash,
2020); BIP34, BIP42, BIP113 (median time past), BIP320.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.pow.engine import PowEngine
from consensus.pow.parameters import PowParameters
from consensus.pow.rules import PowRules

__all__ = ["PROTOCOL", "PowEngine", "PowParameters", "PowProtocol", "PowRules"]


class PowProtocol:
    """Everything about ``pow``, for the registry."""

    name: ClassVar[str] = "pow"
    summary: ClassVar[str] = "Proof of work: the branch with the most work wins; never final."
    parameters: ClassVar[type[msgspec.Struct]] = PowParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = {
        "target_spacing_ms": 1_000,
        "half_life_ms": 60_000,
        # A million hashes: about a second for three miners in Python that share two cores.
        "initial_bits": 0x1E10_0000,
        # Sixteen times easier at most, so that a network that was stopped for a night catches up
        # with its schedule at a pace that a laptop bears.
        "pow_limit_bits": 0x1F01_0000,
        "maturity": 6,
        "confirmation_depth": 6,
    }
    messages: ClassVar[tuple[type[Message], ...]] = ()

    def rules(self, parameters: Any) -> PowRules:
        assert isinstance(parameters, PowParameters)
        return PowRules(parameters)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> PowEngine:
        """``rng`` and ``record`` are not used: no timeout is jittered, nothing is remembered."""
        return PowEngine(me, config, self.rules(config.parameters))

    def first_record(self, chain_id: bytes) -> bytes:
        """Nothing: work itself is the vote, and a miner may forget how it voted."""
        return b""


PROTOCOL = PowProtocol()
