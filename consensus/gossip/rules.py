"""What makes a block acceptable under ``gossip``: next to nothing. Pure."""

from __future__ import annotations

from typing import Final

from chain.address import Address
from chain.block import BlockHead
from chain.changes import StateChange
from chain.errors import InvalidBlock, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from chain.view import ChainView
from consensus.contract import Attestation, Properties
from consensus.gossip.parameters import GossipParameters
from consensus.headers import check_without_work

PROPERTIES: Final = Properties(
    fault_model="crash",
    synchrony="asynchronous",
    finality="none",
    faults=lambda members: max(0, members - 1),
    quorum=lambda members: 0,
    permissioned=False,
    has_validators=False,
    linearizable_reads=False,
    finalizes=False,
    mints_when_idle=False,
    membership="none",
    needs=(
        "Nobody lies, and messages arrive in the end. It stays writable on every side of a "
        "partition; what two sides wrote against each other is displaced on one of them afterwards."
    ),
    confirmed=(
        "Some blocks lie on top of it here. That is a guess, no promise: if a higher branch comes "
        "from nodes that were cut off, it may be displaced however deep it lies."
    ),
    ties="smaller-id",
)


class GossipRules:
    """Anybody may extend any block, at any time. Nothing is claimed, signed, minted or proven."""

    def __init__(self, parameters: GossipParameters) -> None:
        self.parameters = parameters
        self.properties = PROPERTIES

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock where a field that this engine does not use is not empty."""
        check_without_work(block)
        if block.manifest.claims:
            raise InvalidBlock("unexpected-claims", "a block under gossip makes no claims")
        if block.seal:
            raise InvalidBlock("unexpected-seal", "a block under gossip carries no seal")
        if block.manifest.reward:
            raise InvalidBlock("reward-not-zero", "a block under gossip mints nothing")

    def earliest_ms(self, block: BlockHead) -> int:
        """At once: clocks have no say here."""
        return 0

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        """One each: the heaviest branch is the highest."""
        return 1

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        return ()

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        raise InvalidProof("no-finality", "under gossip no block is ever final; no proof can be")

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        raise InvalidProof("no-members", "under gossip nobody signs; nobody can contradict himself")

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        return ()

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        return ()
