"""Paxos: the single-decree Synod (Lamport, "Paxos Made Simple", 2001), one decree a height.

Where we differ from the paper, and why, stands in docs/engines/paxos.md and in ``engine``.
``consensus.multipaxos`` shares ballots, acceptor, learner and the way up the chain.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.paxos.engine import NAME, PaxosEngine
from consensus.paxos.messages import MESSAGES
from consensus.paxos.parameters import DEVNET_PARAMETERS, PaxosParameters
from consensus.paxos.record import PaxosRecord
from consensus.paxos.rules import PROPERTIES, PaxosRules


class PaxosProtocol:
    """Everything about Paxos, for the registry."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = (
        "the Synod, one decree a height: any node proposes, a majority accepts; the one to teach"
    )
    parameters: ClassVar[type[msgspec.Struct]] = PaxosParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = DEVNET_PARAMETERS
    messages: ClassVar[tuple[type[Message], ...]] = MESSAGES

    def rules(self, parameters: PaxosParameters) -> PaxosRules:
        return PaxosRules(NAME, PROPERTIES, mints_when_idle=parameters.heartbeat_ms > 0)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> PaxosEngine:
        return PaxosEngine(me, config, rng, record)

    def first_record(self, chain_id: bytes) -> bytes:
        return PaxosRecord().raw


PROTOCOL = PaxosProtocol()

__all__ = ["PROTOCOL", "PaxosEngine", "PaxosParameters", "PaxosProtocol", "PaxosRules"]
