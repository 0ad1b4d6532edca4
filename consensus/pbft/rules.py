"""PBFT's rules: what makes a block, a proof or an evidence acceptable. Pure."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from chain import codec
from chain.address import Address
from chain.block import BlockHead
from chain.changes import StateChange
from chain.errors import InvalidBlock, InvalidEncoding, InvalidProof
from chain.proof import EVIDENCE_SIZE_MAX, Evidence, Proof
from chain.validators import ValidatorSet, faults_byzantine, quorum_byzantine
from chain.view import ChainView
from consensus.contract import Attestation, Properties
from consensus.headers import check_without_work
from consensus.pbft.certificates import check_commit_certificate
from consensus.pbft.messages import NAME, Commit, Prepare, PrePrepare, Vote, parse_proof, vote_kind
from consensus.pbft.parameters import PbftParameters

PROPERTIES: Final = Properties(
    fault_model="byzantine",
    synchrony="partial",
    finality="immediate",
    faults=faults_byzantine,
    quorum=quorum_byzantine,
    permissioned=True,
    has_validators=True,
    linearizable_reads=True,
    finalizes=True,
    mints_when_idle=False,
    membership="at-once",
    needs="fewer than a third of the validators are faulty, and messages arrive in the end",
)


class PbftRules:
    """Blocks carry nothing of PBFT: proposals and votes are messages, finality is a certificate."""

    def __init__(self, parameters: PbftParameters) -> None:
        self.properties: Properties = replace(
            PROPERTIES, mints_when_idle=parameters.heartbeat_ms > 0
        )

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock where a field that PBFT does not use is not empty."""
        check_without_work(block)
        manifest = block.manifest
        if manifest.claims:
            raise InvalidBlock("claims-not-empty", "a PBFT block claims nothing")
        if block.seal:
            raise InvalidBlock("seal-not-empty", "a PBFT block has no seal")
        if manifest.reward:
            raise InvalidBlock("reward-not-zero", "a PBFT block mints nothing")
        if manifest.producer not in view.validators(block.previous):
            raise InvalidBlock("not-a-validator", "the producer is no validator at this height")

    def earliest_ms(self, block: BlockHead) -> int:
        """At once: a voter withholds its vote from a block ahead of its clock, not the import."""
        return 0

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        return 1

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        """A commit certificate of exactly this block. Raises InvalidProof."""
        certificate = parse_proof(proof)
        if (certificate.height, certificate.block_id) != (block.height, block.id):
            raise InvalidProof("another-block", "the certificate is for another block")
        check_commit_certificate(certificate, validators)
        return certificate.attestations()

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        """Two statements of one slot for different blocks. Raises InvalidProof otherwise."""
        if evidence.engine != NAME:
            raise InvalidProof("foreign-evidence", f"evidence of {evidence.engine!r}")
        first, second = _parse_side(evidence.first), _parse_side(evidence.second)
        same = (vote_kind(first), first.height, first.view, first.sender) == (
            vote_kind(second),
            second.height,
            second.view,
            second.sender,
        )
        if not same or first.block_id == second.block_id:
            raise InvalidProof("no-contradiction", "the two messages do not contradict each other")
        if first.sender not in validators:
            raise InvalidProof("not-a-member", "the signer is not a validator")
        return first.sender

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        """Both statements' signatures. Raises InvalidProof where a side is malformed."""
        sides = (_parse_side(evidence.first), _parse_side(evidence.second))
        return tuple(one for side in sides for one in side.attestations())

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        return ()

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        return ()


def _parse_side(raw: bytes) -> Vote:
    try:
        side: Vote = codec.decode(raw, PrePrepare | Prepare | Commit, EVIDENCE_SIZE_MAX)  # type: ignore[arg-type]
    except InvalidEncoding as error:
        raise InvalidProof("malformed-evidence", error.sentence) from None
    if isinstance(side, PrePrepare) and side.block is not None:
        # The signature does not cover the body: evidence has one form only.
        raise InvalidProof("malformed-evidence", "evidence carries statements without bodies")
    return side
