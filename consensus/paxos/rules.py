"""Rules of the Paxos family: what makes a block or a proof acceptable. Pure."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from chain.address import Address
from chain.block import BlockHead
from chain.changes import StateChange
from chain.errors import InvalidBlock, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet, faults_crash, majority
from chain.view import ChainView
from consensus.contract import Attestation, Properties
from consensus.headers import check_without_work
from consensus.paxos.messages import check_certificate, parse_proof

PROPERTIES: Final = Properties(
    fault_model="crash",
    synchrony="partial",
    finality="immediate",
    faults=faults_crash,
    quorum=majority,
    permissioned=True,
    has_validators=True,
    linearizable_reads=True,
    finalizes=True,
    mints_when_idle=False,
    membership="at-once",
    needs="nobody lies, a majority runs and keeps its disks, and messages arrive in the end",
)


class PaxosRules:
    """Blocks carry nothing of Paxos: a ballot stays out of the block's id.

    So a later ballot can propose the very same block again. ``engine``: the name in proofs.
    """

    def __init__(self, engine: str, properties: Properties, *, mints_when_idle: bool) -> None:
        self.engine = engine
        self.properties: Properties = replace(properties, mints_when_idle=mints_when_idle)

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock where a field that Paxos does not use is not empty."""
        check_without_work(block)
        manifest = block.manifest
        if manifest.claims:
            raise InvalidBlock("claims-not-empty", f"a block of {self.engine} claims nothing")
        if block.seal:
            raise InvalidBlock("seal-not-empty", f"a block of {self.engine} has no seal")
        if manifest.reward:
            raise InvalidBlock("reward-not-zero", f"a block of {self.engine} mints nothing")
        if manifest.producer not in view.validators(block.previous):
            raise InvalidBlock("not-a-validator", "the producer has no vote at this height")

    def earliest_ms(self, block: BlockHead) -> int:
        """At once: blocks are minted at max(parent + 1, now), and nobody waits for a clock."""
        return 0

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        return 1

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        """A majority's acceptances of exactly this block. Raises InvalidProof."""
        certificate = parse_proof(self.engine, proof)
        if (certificate.height, certificate.block_id) != (block.height, block.id):
            raise InvalidProof("another-block", "the certificate is for another block")
        check_certificate(certificate, validators)
        return certificate.attestations()

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        """Nobody is guilty of anything where nobody lies. Raises InvalidProof, always."""
        raise InvalidProof("no-evidence", "members of a crash-fault engine are not accused")

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        """Raises InvalidProof, always: see ``check_evidence``."""
        raise InvalidProof("no-evidence", "members of a crash-fault engine are not accused")

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        return ()

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        return ()
