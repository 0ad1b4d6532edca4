"""Raft: a replicated log under an elected leader (Ongaro and Ousterhout, USENIX ATC 2014).

Where we differ from the paper, and why, stands in docs/engines/raft.md and in ``engine``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from consensus.contract import EngineConfig, Message, NodeId
from consensus.raft.engine import RaftEngine
from consensus.raft.messages import MESSAGES, NAME
from consensus.raft.parameters import DEVNET_PARAMETERS, RaftParameters
from consensus.raft.record import RaftRecord
from consensus.raft.rules import RaftRules


class RaftProtocol:
    """Everything about Raft, for the registry."""

    name: ClassVar[str] = NAME
    summary: ClassVar[str] = (
        "a log replicated by an elected leader; a block is final once a majority holds it"
    )
    parameters: ClassVar[type[msgspec.Struct]] = RaftParameters
    devnet_parameters: ClassVar[Mapping[str, int | str]] = DEVNET_PARAMETERS
    messages: ClassVar[tuple[type[Message], ...]] = MESSAGES

    def rules(self, parameters: RaftParameters) -> RaftRules:
        return RaftRules(parameters)

    def engine(
        self, me: NodeId, config: EngineConfig, rng: random.Random, record: bytes | None
    ) -> RaftEngine:
        """``rng`` draws election timeouts, and nothing else."""
        return RaftEngine(me, config, rng, record)

    def first_record(self, chain_id: bytes) -> bytes:
        return RaftRecord().raw


PROTOCOL = RaftProtocol()

__all__ = ["PROTOCOL", "RaftEngine", "RaftParameters", "RaftProtocol", "RaftRules"]
