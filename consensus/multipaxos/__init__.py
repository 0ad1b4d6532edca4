"""Multi-Paxos: Paxos under a stable leader, one round trip a block.

Where we differ from the papers, and why, stands in docs/engines/multipaxos.md and in ``engine``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.multipaxos.engine import MultiPaxosEngine
from consensus.multipaxos.messages import MESSAGES
from consensus.multipaxos.parameters import DEVNET_PARAMETERS, MultiPaxosParameters
from consensus.multipaxos.status import NAME
from consensus.paxos.record import PaxosRecord
from consensus.paxos.rules import PROPERTIES, PaxosRules


class MultiPaxosProtocol:
    """Everything about Multi-Paxos, for the registry."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = (
        "Paxos under a stable leader with a lease: a majority accepts, a block is final at once"
    )
    parameters: ClassVar[type[msgspec.Struct]] = MultiPaxosParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = DEVNET_PARAMETERS
    messages: ClassVar[tuple[type[Message], ...]] = MESSAGES

    def rules(self, parameters: MultiPaxosParameters) -> PaxosRules:
        properties = msgspec.structs.replace(PROPERTIES, leader_stays=True)
        return PaxosRules(NAME, properties, mints_when_idle=parameters.heartbeat_ms > 0)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> MultiPaxosEngine:
        return MultiPaxosEngine(me, config, rng, record)

    def first_record(self, chain_id: bytes) -> bytes:
        return PaxosRecord().raw


PROTOCOL = MultiPaxosProtocol()

__all__ = ["PROTOCOL", "MultiPaxosEngine", "MultiPaxosParameters", "MultiPaxosProtocol"]
