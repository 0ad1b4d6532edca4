"""Raft's rules: what makes a block or a proof acceptable. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from msgspec.structs import replace

from chain import codec
from chain.address import Address
from chain.block import BlockHead
from chain.changes import LeaveJoint, StateChange
from chain.codec import Record, Uint
from chain.errors import InvalidBlock, InvalidEncoding, InvalidProof
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet, faults_crash, majority
from chain.view import ChainView
from consensus.contract import Attestation, Properties
from consensus.headers import check_without_work
from consensus.raft.messages import parse_proof
from consensus.raft.parameters import RaftParameters

CLAIMS_SIZE_MAX: Final = 16
"""Bytes: a term of 63 bits, a flag, and their frame."""

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
    membership="joint",
    leader_stays=True,
    needs="a majority of the validators run and reach each other, and none of them lies",
)


class Claims(Record, frozen=True):
    """What a block says of Raft: the term in which a leader made it, and whether it leaves a joint
    configuration (section 6). Both are hashed with the block."""

    term: Uint
    leaves_joint: bool = False

    @property
    def raw(self) -> bytes:
        """The canonical encoding."""
        return codec.encode(self)


@lru_cache(maxsize=1_024)
def parse_claims(raw: bytes) -> Claims:
    """Raises InvalidEncoding."""
    return codec.decode(raw, Claims, CLAIMS_SIZE_MAX)


def term_of(head: BlockHead) -> int:
    """The term of an accepted entry; genesis is of term 0."""
    return parse_claims(head.manifest.claims).term if head.height else 0


def leaves_joint(head: BlockHead) -> bool:
    """Whether an accepted entry ends a joint configuration."""
    return bool(head.height) and parse_claims(head.manifest.claims).leaves_joint


def may_vote(members: ValidatorSet, address: Address) -> bool:
    """Whether ``address`` counts in either half of a configuration."""
    return address in members or any(one.address == address for one in members.outgoing)


def has_left(view: ChainView, parent: BlockHead) -> bool:
    """Whether the joint configuration that decides ``parent``'s child was left by then.

    The set in force follows the state ``validator_lag`` blocks later, so that the joint set
    decides some more blocks after the one that leaves it.
    """
    joint = view.validators(parent.id).hash
    while parent.height:
        if leaves_joint(parent):
            return True
        if view.validators(parent.previous).hash != joint:
            return False
        parent = view.header(parent.previous)
    return False


class RaftRules:
    """A block's claims hold its term; finality is the leader's statement."""

    def __init__(self, parameters: RaftParameters) -> None:
        self.properties: Properties = replace(
            PROPERTIES, mints_when_idle=parameters.idle_block_ms > 0
        )

    def check_header(self, block: BlockHead, view: ChainView) -> None:
        """Raises InvalidBlock where the block cannot be an entry of a log on its parent."""
        check_without_work(block)
        manifest = block.manifest
        if block.seal:
            raise InvalidBlock("seal-not-empty", "a Raft block has no seal")
        if manifest.reward:
            raise InvalidBlock("reward-not-zero", "a Raft block mints nothing")
        try:
            claims = parse_claims(manifest.claims)
        except InvalidEncoding as error:
            raise InvalidBlock("malformed-claims", error.sentence) from None
        parent, members = view.header(block.previous), view.validators(block.previous)
        if not may_vote(members, manifest.producer):
            raise InvalidBlock("not-a-validator", "the producer has no vote at this height")
        if not claims.term or claims.term < term_of(parent):
            raise InvalidBlock("term-goes-back", "a log's terms never decrease, and begin with 1")
        if claims.term == term_of(parent) and manifest.producer != parent.manifest.producer:
            raise InvalidBlock("two-leaders", "another server led in this block's term")
        if claims.leaves_joint and (not members.outgoing or has_left(view, parent)):
            raise InvalidBlock("not-joint", "there is no joint configuration to leave")

    def earliest_ms(self, block: BlockHead) -> int:
        """At once: no rule here looks at a clock."""
        return 0

    def author(self, block: BlockHead) -> Address:
        return block.manifest.producer

    def weight(self, block: BlockHead) -> int:
        return 1

    def check_proof(
        self, chain_id: bytes, block: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> tuple[Attestation, ...]:
        """A commit statement for exactly this block. Raises InvalidProof."""
        statement = parse_proof(proof)
        if (statement.height, statement.block_id) != (block.height, block.id):
            raise InvalidProof("another-block", "the statement is for another block")
        if statement.term < term_of(block):
            raise InvalidProof("another-term", "the statement is older than the block")
        if not may_vote(validators, statement.leader):
            raise InvalidProof("not-a-member", "the leader has no vote at this height")
        return (statement.attestation,)

    def check_evidence(self, evidence: Evidence, validators: ValidatorSet) -> Address:
        """Nothing convicts anybody: in this fault model nobody lies. Raises InvalidProof."""
        raise InvalidProof("no-evidence", "Raft knows no evidence: it bears no liars")

    def evidence_attestations(self, evidence: Evidence) -> tuple[Attestation, ...]:
        """Raises InvalidProof."""
        raise InvalidProof("no-evidence", "Raft knows no evidence: it bears no liars")

    def seal_attestations(self, block: BlockHead) -> tuple[Attestation, ...]:
        return ()

    def state_changes(self, block: BlockHead, view: ChainView) -> tuple[StateChange, ...]:
        return (LeaveJoint(),) if leaves_joint(block) else ()
