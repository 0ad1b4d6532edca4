"""PBFT: Practical Byzantine Fault Tolerance (Castro and Liskov, OSDI'99), one block a decision.

Where we differ from the paper, and why, stands in docs/engines/pbft.md and in ``engine``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.pbft.engine import PbftEngine
from consensus.pbft.messages import MESSAGES, NAME
from consensus.pbft.parameters import DEVNET_PARAMETERS, PbftParameters
from consensus.pbft.record import PbftRecord
from consensus.pbft.rules import PbftRules


class PbftProtocol:
    """Everything about PBFT, for the registry."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = (
        "Byzantine votes in three phases under a stable primary; a block is final at once"
    )
    parameters: ClassVar[type[msgspec.Struct]] = PbftParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = DEVNET_PARAMETERS
    messages: ClassVar[tuple[type[Message], ...]] = MESSAGES

    def rules(self, parameters: PbftParameters) -> PbftRules:
        return PbftRules(parameters)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> PbftEngine:
        """``rng`` is not used: PBFT has no random timeouts."""
        return PbftEngine(me, config, record)

    def first_record(self, chain_id: bytes) -> bytes:
        return PbftRecord().raw


PROTOCOL = PbftProtocol()

__all__ = ["PROTOCOL", "PbftEngine", "PbftParameters", "PbftProtocol", "PbftRules"]
