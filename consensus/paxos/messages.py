"""What Paxos says: the messages of both phases, and the proof that a block was chosen.

Named as in Lamport, "Paxos Made Simple" (2001): a proposer *prepares* a ballot (1a), acceptors
*promise* (1b); it asks them to *accept* (2a), and they have *accepted* (2b). Who said what is known
by the channel. Only an acceptance is signed besides, since a majority of them is the proof that
goes to strangers; the gate adds engine and chain id to what is signed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from chain import codec
from chain.address import Address
from chain.block import Block
from chain.codec import Hash, Record, Signature, Uint
from chain.errors import InvalidEncoding, InvalidProof
from chain.hashing import BlockId
from chain.proof import PROOF_SIZE_MAX, Proof
from chain.validators import VALIDATORS_MAX, ValidatorSet, majority
from consensus.contract import Attestation, Message, Slot
from consensus.paxos.ballot import Ballot

ACCEPTED: Final = "accepted"

DraftSignature = Annotated[bytes, msgspec.Meta(max_length=64)]
"""64 bytes, or empty in an outgoing message that the signer has yet to fill in."""


def acceptance(
    acceptor: Address, height: int, ballot: Ballot, block: BlockId, signature: bytes
) -> Attestation:
    """The statement that ``acceptor`` accepted ``block`` at ``height`` under ``ballot``.

    Its slot is (height, ballot): the proposer stands in the slot's kind, the round in its view.
    """
    slot = Slot(f"{ACCEPTED}/{ballot.node.hex()}", height, ballot.round)
    content = codec.encode((ACCEPTED, height, ballot, block))
    return Attestation(acceptor, slot, content, signature)


class Vote(Record, frozen=True):
    """What an acceptor accepted at its open height: a block, and under which ballot."""

    ballot: Ballot
    block_id: Hash


class Signed(Record, frozen=True):
    """One acceptor's signature over the acceptance that its certificate names."""

    acceptor: Address
    signature: Signature


class Certificate(Record, frozen=True):
    """A majority accepted ``block_id`` under one ballot: it is chosen (section 2.3), for good."""

    height: Uint
    ballot: Ballot
    block_id: Hash
    accepts: Annotated[tuple[Signed, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.ballot, self.block_id)
        return tuple(acceptance(one.acceptor, *of, one.signature) for one in self.accepts)

    def proof(self, engine: str) -> Proof:
        """The certificate as the chain stores it, beside the block."""
        return Proof(engine, codec.encode(self))


def parse_proof(engine: str, proof: Proof) -> Certificate:
    """The certificate in a proof. Raises InvalidProof for another engine's or malformed one."""
    if proof.engine != engine:
        raise InvalidProof("foreign-proof", f"a proof of {proof.engine!r}, not of {engine!r}")
    try:
        return codec.decode(proof.body, Certificate, PROOF_SIZE_MAX)
    except InvalidEncoding as error:
        raise InvalidProof("malformed-proof", error.sentence) from None


def check_certificate(certificate: Certificate, validators: ValidatorSet) -> None:
    """Raises InvalidProof unless distinct members, a majority of all, stand in it in order.

    The signatures are the gate's to check.
    """
    acceptors = [one.acceptor for one in certificate.accepts]
    if acceptors != sorted(set(acceptors)):
        raise InvalidProof("not-distinct", "its acceptors are not distinct, or not in order")
    if any(one not in validators for one in acceptors):
        raise InvalidProof("not-a-member", "an acceptor has no vote at this height")
    if not validators.decided_by(acceptors, majority):
        raise InvalidProof(
            "no-majority", f"{len(acceptors)} of {len(validators)} accepted: that is no majority"
        )


class Prepare(Message, frozen=True, tag=1):
    """1a: asks for a promise to accept nothing below ``ballot``, from ``height`` on."""

    ballot: Ballot
    height: Uint


class Promise(Message, frozen=True, tag=2):
    """1b: the acceptor will accept nothing below ``ballot``.

    ``height``: its open height; everything below is chosen. ``accepted``: what it accepted there,
    under the highest ballot. ``decided``: the certificate of the block below, for a proposer
    whose own open height is lower: heights that are chosen already are part of the answer.
    """

    ballot: Ballot
    height: Uint
    accepted: Vote | None
    decided: Certificate | None = None


class Refusal(Message, frozen=True, tag=3):
    """To a proposer: ``ballot`` is refused, since ``promised`` was promised (section 2.5).

    Where ``promised`` is lower, the acceptor is bound to another node for a while (a lease).
    """

    ballot: Ballot
    height: Uint
    promised: Ballot


class Accept(Message, frozen=True, tag=4):
    """2a: asks to accept ``block_id``. ``block``: the body; None when it is said again."""

    ballot: Ballot
    height: Uint
    block_id: Hash
    block: Block | None = None


class Accepted(Message, frozen=True, tag=5):
    """2b: the acceptor has accepted the block under that ballot; durable and signed."""

    ballot: Ballot
    height: Uint
    block_id: Hash
    acceptor: Address
    signature: DraftSignature = b""

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.ballot, self.block_id)
        return (acceptance(self.acceptor, *of, self.signature),)

    def signed(self, signatures: Sequence[bytes]) -> Accepted:
        if self.signature:
            return self
        (signature,) = signatures
        return msgspec.structs.replace(self, signature=signature)


class Decided(Message, frozen=True, tag=6):
    """A block is chosen. It proves itself; whoever is behind may have it from anyone."""

    certificate: Certificate

    def attestations(self) -> tuple[Attestation, ...]:
        return self.certificate.attestations()


class Ask(Message, frozen=True, tag=7):
    """How far is everybody? For reads, for nodes that are behind, and for a lost record.

    ``number``: comes back in the answer. ``height``: the asker's open height.
    """

    number: Uint
    height: Uint


class Tell(Message, frozen=True, tag=8):
    """The answer: the open height, whether anything was accepted there, and what was promised.

    ``is_whole``: False from a node whose own record was lost; it counts for no majority.
    """

    number: Uint
    height: Uint
    has_accepted: bool
    promised: Ballot
    is_whole: bool


MESSAGES: Final = (Prepare, Promise, Refusal, Accept, Accepted, Decided, Ask, Tell)
