"""Gossip: no agreement, only convergence. Every side of a partition stays writable.

Page: docs/engines/gossip.md. Not the peer gossip that spreads transactions under every engine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.gossip.engine import GossipEngine
from consensus.gossip.messages import Digest
from consensus.gossip.parameters import DEVNET_PARAMETERS, GossipParameters
from consensus.gossip.rules import GossipRules

__all__ = ["PROTOCOL", "GossipEngine", "GossipParameters", "GossipProtocol", "GossipRules"]


class GossipProtocol:
    """Everything about ``gossip``, for the registry."""

    name: ClassVar[str] = "gossip"
    summary: ClassVar[str] = (
        "No agreement: always writable, converges when messages arrive; never final."
    )
    parameters: ClassVar[type[msgspec.Struct]] = GossipParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = DEVNET_PARAMETERS
    messages: ClassVar[tuple[type[Message], ...]] = (Digest,)

    def rules(self, parameters: Any) -> GossipRules:
        assert isinstance(parameters, GossipParameters)
        return GossipRules(parameters)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> GossipEngine:
        """``record`` is not used: what is forgotten hurts nobody."""
        assert isinstance(config.parameters, GossipParameters)
        return GossipEngine(me, config, config.parameters, rng)

    def first_record(self, chain_id: bytes) -> bytes:
        return b""


PROTOCOL = GossipProtocol()
