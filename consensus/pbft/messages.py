"""PBFT's messages and certificates (Castro and Liskov, OSDI'99, sections 4.2 to 4.4).

What is signed is the *statement* (kind, height, view, block id), never the block's body: so a
proposal sent again without its body carries the same signature, and a certificate is a list of
signatures over one statement. Kind, height and view stand inside the signed bytes; the gate adds
engine and chain id. A signature therefore proves nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from chain import codec
from chain.address import Address
from chain.block import Block
from chain.codec import Hash, Record, Signature, Uint
from chain.errors import InvalidEncoding, InvalidProof
from chain.hashing import ZERO_HASH, BlockId
from chain.proof import PROOF_SIZE_MAX, Proof
from chain.validators import VALIDATORS_MAX
from consensus.contract import Attestation, Message, Slot

NAME: Final = "pbft"

PRE_PREPARE: Final = "pre-prepare"
PREPARE: Final = "prepare"
COMMIT: Final = "commit"
VIEW_CHANGE: Final = "view-change"
NEW_VIEW: Final = "new-view"

VoteKind = Literal["pre-prepare", "prepare", "commit"]

DraftSignature = Annotated[bytes, msgspec.Meta(max_length=64)]
"""64 bytes, or empty in an outgoing message that the signer has yet to fill in."""


def statement(kind: str, height: int, view: int, block: BlockId) -> bytes:
    """The bytes that a pre-prepare, prepare, commit or new-view for ``block`` signs."""
    return codec.encode((kind, height, view, block))


def _attest(
    signer: Address, kind: str, height: int, view: int, block: BlockId, signature: bytes
) -> Attestation:
    return Attestation(
        signer, Slot(kind, height, view), statement(kind, height, view, block), signature
    )


class SignedBy(Record, frozen=True):
    """One member's signature over the statement that its certificate names."""

    signer: Address
    signature: Signature


SignatureList = Annotated[tuple[SignedBy, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]


class PreparedCertificate(Record, frozen=True):
    """A pre-prepare and matching prepares of other replicas: ``prepared`` (section 4.2)."""

    view: Uint
    height: Uint
    block_id: Hash
    primary: Address
    pre_prepare: Signature
    prepares: SignatureList

    def attestations(self) -> tuple[Attestation, ...]:
        """The primary's signature, then the backups'."""
        of = (self.height, self.view, self.block_id)
        return (
            _attest(self.primary, PRE_PREPARE, *of, self.pre_prepare),
            *(_attest(one.signer, PREPARE, *of, one.signature) for one in self.prepares),
        )


class CommitCertificate(Record, frozen=True):
    """A quorum of commits: ``committed`` (section 4.2), and the proof that a block is final."""

    view: Uint
    height: Uint
    block_id: Hash
    commits: SignatureList

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.view, self.block_id)
        return tuple(_attest(one.signer, COMMIT, *of, one.signature) for one in self.commits)

    @property
    def proof(self) -> Proof:
        """The certificate as the chain stores it, beside the block."""
        return Proof(NAME, codec.encode(self))


def parse_proof(proof: Proof) -> CommitCertificate:
    """The certificate in a proof. Raises InvalidProof for another engine's or malformed one."""
    if proof.engine != NAME:
        raise InvalidProof("foreign-proof", f"a proof of {proof.engine!r}, not of {NAME!r}")
    try:
        return codec.decode(proof.body, CommitCertificate, PROOF_SIZE_MAX)
    except InvalidEncoding as error:
        raise InvalidProof("malformed-proof", error.sentence) from None


M = TypeVar("M", "PrePrepare", "Prepare", "Commit", "ViewChange", "NewView")


class PrePrepare(Message, frozen=True, tag=1):
    """The primary assigns ``block_id`` to a height in its view (section 4.2).

    ``block``: the body; None when it is said again, and a receiver without it fetches it.
    """

    view: Uint
    height: Uint
    block_id: Hash
    sender: Address
    block: Block | None = None
    signature: DraftSignature = b""

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.view, self.block_id)
        return (_attest(self.sender, PRE_PREPARE, *of, self.signature),)

    def signed(self, signatures: Sequence[bytes]) -> PrePrepare:
        return self if self.signature else _fill(self, signatures)


class Prepare(Message, frozen=True, tag=2):
    """A backup agrees to the assignment (section 4.2)."""

    view: Uint
    height: Uint
    block_id: Hash
    sender: Address
    signature: DraftSignature = b""

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.view, self.block_id)
        return (_attest(self.sender, PREPARE, *of, self.signature),)

    def signed(self, signatures: Sequence[bytes]) -> Prepare:
        return self if self.signature else _fill(self, signatures)


class Commit(Message, frozen=True, tag=3):
    """A replica holds a prepared certificate (section 4.2)."""

    view: Uint
    height: Uint
    block_id: Hash
    sender: Address
    signature: DraftSignature = b""

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.view, self.block_id)
        return (_attest(self.sender, COMMIT, *of, self.signature),)

    def signed(self, signatures: Sequence[bytes]) -> Commit:
        return self if self.signature else _fill(self, signatures)


class ViewChange(Message, frozen=True, tag=4):
    """A replica leaves all views below ``view`` (section 4.4).

    ``height`` is the one that it has open, ``parent`` the final block below it, and ``prepared``
    its prepared certificate of the highest view at that height: the paper's set P. Final blocks
    take the place of checkpoints (set C). The signature covers what the certificate says, not
    which signatures it holds, so that saying it again after a restart signs the same bytes.
    """

    view: Uint
    height: Uint
    parent: Hash
    prepared: PreparedCertificate | None
    sender: Address
    signature: DraftSignature = b""

    @property
    def content(self) -> bytes:
        """The bytes signed; a prepared view is counted from 1, so that 0 says: none."""
        prepared = self.prepared
        claim = (0, ZERO_HASH) if prepared is None else (prepared.view + 1, prepared.block_id)
        return codec.encode((VIEW_CHANGE, self.height, self.view, self.parent, claim))

    def attestations(self) -> tuple[Attestation, ...]:
        slot = Slot(VIEW_CHANGE, self.height, self.view)
        own = Attestation(self.sender, slot, self.content, self.signature)
        return (own,) if self.prepared is None else (own, *self.prepared.attestations())

    def signed(self, signatures: Sequence[bytes]) -> ViewChange:
        return self if self.signature else _fill(self, signatures)


class NewView(Message, frozen=True, tag=5):
    """The new primary opens ``view`` with a quorum of view changes (section 4.4).

    ``block_id`` is the choice that follows from them (the paper's set O): the prepared block of
    the highest view, or 32 zero bytes where nothing was prepared and the primary may propose
    freely. ``pre_prepare`` is its signature as a pre-prepare of that block. ``decided`` proves
    the final block below, for those who missed it.
    """

    view: Uint
    height: Uint
    sender: Address
    view_changes: Annotated[tuple[ViewChange, ...], msgspec.Meta(max_length=VALIDATORS_MAX)]
    decided: CommitCertificate | None = None
    block_id: Hash = ZERO_HASH
    block: Block | None = None
    pre_prepare: DraftSignature = b""
    signature: DraftSignature = b""

    @property
    def is_free(self) -> bool:
        """Whether nothing was prepared: a null request in the paper's words."""
        return self.block_id == ZERO_HASH

    def attestations(self) -> tuple[Attestation, ...]:
        of = (self.height, self.view, self.block_id)
        own = [_attest(self.sender, NEW_VIEW, *of, self.signature)]
        if not self.is_free:
            own.append(_attest(self.sender, PRE_PREPARE, *of, self.pre_prepare))
        carried = [one for change in self.view_changes for one in change.attestations()]
        final = () if self.decided is None else self.decided.attestations()
        return (*own, *carried, *final)

    def signed(self, signatures: Sequence[bytes]) -> NewView:
        if self.signature:
            return self
        if self.is_free:
            return _fill(self, signatures)
        new_view, pre_prepare = signatures
        return msgspec.structs.replace(self, signature=new_view, pre_prepare=pre_prepare)


class Decided(Message, frozen=True, tag=6):
    """To a replica that is behind: this block is final. It proves itself; nobody signs it."""

    certificate: CommitCertificate

    def attestations(self) -> tuple[Attestation, ...]:
        return self.certificate.attestations()


class ReadQuery(Message, frozen=True, tag=7):
    """A replica that is to answer a read asks how far the others have gone. The link names it."""

    number: Uint


class ReadReply(Message, frozen=True, tag=8):
    """``height``: the highest at which the sender has said a commit; of the query ``number``.

    Nobody signs it: it convinces only the one that asked, over the link on which it came.
    """

    number: Uint
    height: Uint


MESSAGES: Final = (
    PrePrepare,
    Prepare,
    Commit,
    ViewChange,
    NewView,
    Decided,
    ReadQuery,
    ReadReply,
)
Vote = PrePrepare | Prepare | Commit


def vote_kind(vote: Vote) -> VoteKind:
    """The statement's kind, as its slot names it."""
    if isinstance(vote, PrePrepare):
        return PRE_PREPARE
    return PREPARE if isinstance(vote, Prepare) else COMMIT


def _fill(message: M, signatures: Sequence[bytes]) -> M:
    (signature,) = signatures
    return msgspec.structs.replace(message, signature=signature)
