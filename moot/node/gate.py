"""The gate and the signer: every signature on the way in, every signature on the way out.

Engines see neither keys nor signatures that do not verify. The signer keeps a guard of its own: it
never signs two different contents for one slot, nor anything below its bounded window. That is a
second lock on the door; crash safety is the business of the engine's record.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence

from chain import codec
from chain.address import KEY, Address
from chain.block import Block, BlockHead
from chain.errors import InvalidEncoding, InvalidMessage, InvalidProof
from chain.hashing import sha256, tagged
from chain.proof import Evidence, Proof
from chain.signatures import Signed, Verifier
from chain.validators import ValidatorSet
from consensus.contract import Attestation, EngineProtocol, Message, Rules, SealRules, Slot
from p2p.wire import ConsensusFrame

DOMAIN = "moot/consensus/1"
VERIFIED_MAX = 20_000
"""Checked signatures remembered: votes come alone first and again inside certificates."""
GUARD_SLOTS_MAX = 4_096
"""Signed slots remembered per kind: far more than are ever in flight."""
OTHER = "other"
"""Stands for all that the chain's engine has no name for."""


def attested_bytes(chain_id: bytes, engine: str, attestation: Attestation) -> bytes:
    """What a key signs: the content bound to chain, engine and slot."""
    return tagged(
        DOMAIN,
        chain_id,
        engine.encode(),
        codec.encode(tuple(attestation.slot)),
        attestation.content,
    )


def check_attestations(
    chain_id: bytes, engine: str, attestations: Sequence[Attestation], verifier: Verifier
) -> bool:
    """Whether every signature verifies; for verifiers who stand outside a node."""
    claims = _claims(chain_id, engine, attestations)
    return claims is not None and all(verifier.verify(claims))


def _claims(
    chain_id: bytes, engine: str, attestations: Iterable[Attestation]
) -> list[Signed] | None:
    claims = []
    for attestation in attestations:
        if len(attestation.signer) != 33 or attestation.signer[0] != KEY:
            return None
        message = attested_bytes(chain_id, engine, attestation)
        claims.append(Signed(attestation.signer[1:], message, attestation.signature))
    return claims


def attestations_max(members: int) -> int:
    """What the largest message can carry: a new view quotes every member, each with a quorum's
    certificate, and proves the block below. Without this bound one frame of 9 MB with 87,000
    signatures kept a node busy for eight seconds."""
    return (members + 2) * (members + 3)


def members_only(rules: Rules) -> bool:
    """Whether only members speak of consensus on such a chain, and sign all that they say."""
    return rules.properties.permissioned and rules.properties.fault_model == "byzantine"


class Gate:
    """Lets in only messages, seals and proofs whose every signature verifies."""

    def __init__(
        self,
        protocol: EngineProtocol,
        chain_id: bytes,
        verifier: Verifier,
        members_only: bool = False,
    ) -> None:
        """``members_only``: see the function of that name."""
        self._engine = protocol.name
        self._members_only = members_only
        self._chain_id = chain_id
        self._verifier = verifier
        self._types: dict[int, type[Message]] = {_tag(kind): kind for kind in protocol.messages}
        self._names = {tag: kind.__name__ for tag, kind in self._types.items()}
        self._verified: OrderedDict[Signed, None] = OrderedDict()

    def pack(self, message: Message) -> ConsensusFrame:
        """The frame that carries an outgoing message."""
        return ConsensusFrame(self._engine, _tag(type(message)), codec.encode(message))

    def name_of(self, frame: ConsensusFrame) -> str:
        """What the engine calls the message in a frame, unread; "other" for what is not its own, so
        that no peer can make up names."""
        if frame.engine != self._engine:
            return OTHER
        return self._names.get(frame.tag, OTHER)

    def unpack(
        self,
        frame: ConsensusFrame,
        sender: Address | None = None,
        members: Collection[Address] | None = None,
    ) -> Message | None:
        """The message in a frame that ``sender`` brought, every signature checked.

        Raises InvalidEncoding or InvalidMessage ("other-engine", "unknown-message",
        "too-many-signatures", "bad-signature"). Where only ``members`` speak, and sign what they
        say, nobody else is listened to (None), since keys cost nothing and checking signatures
        does. No charge either: a former member may not know yet. And no message carries more
        signatures than that many members have a use for.
        """
        if not self._members_only:
            members = None
        if members and (sender is None or sender not in members):
            return None
        if frame.engine != self._engine:
            raise InvalidMessage("other-engine", f"this chain runs {self._engine} now")
        kind = self._types.get(frame.tag)
        if kind is None:
            raise InvalidMessage("unknown-message", f"{self._engine} has no message {frame.tag}")
        message = codec.decode(frame.body, kind)
        attestations = message.attestations()
        if members and len(attestations) > attestations_max(len(members)):
            raise InvalidMessage("too-many-signatures", "more signatures than members could give")
        if not self.verified(attestations):
            raise InvalidMessage("bad-signature", "a signature in the message does not verify")
        return message

    def verified(self, attestations: Sequence[Attestation]) -> bool:
        """Whether every signature verifies; each is computed once and remembered."""
        claims = _claims(self._chain_id, self._engine, attestations)
        if claims is None:
            return False
        fresh = [claim for claim in claims if claim not in self._verified]
        if fresh and not all(self._verifier.verify(fresh)):
            return False
        for claim in fresh:
            self._verified[claim] = None
        while len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return True

    def check_proof(
        self, rules: Rules, head: BlockHead, proof: Proof, validators: ValidatorSet
    ) -> None:
        """Raises InvalidProof unless the proof shows ``head`` final."""
        if proof.engine != self._engine:
            raise InvalidProof("other-engine", f"a proof of {proof.engine}, not {self._engine}")
        try:
            attestations = rules.check_proof(self._chain_id, head, proof, validators)
        except InvalidEncoding as error:
            raise InvalidProof(error.code, error.sentence) from None
        if not self.verified(attestations):
            raise InvalidProof("bad-signature", "a signature in the proof does not verify")

    def check_evidence(self, rules: Rules, evidence: Evidence, validators: ValidatorSet) -> Address:
        """The guilty. Raises InvalidProof unless two signed messages contradict each other."""
        guilty = rules.check_evidence(evidence, validators)
        if not self.verified(rules.evidence_attestations(evidence)):
            raise InvalidProof("bad-signature", "a signature in the evidence does not verify")
        return guilty


class SigningRefused(AssertionError):
    """The engine asked for a second content in one slot: our bug, and the node stops."""


class Signer:
    """Signs this node's own attestations, once for each slot."""

    def __init__(
        self, me: Address, sign: Callable[[bytes], bytes], chain_id: bytes, engine: str
    ) -> None:
        self.me = me
        self._sign = sign
        self._chain_id = chain_id
        self._engine = engine
        self._signed: dict[str, OrderedDict[tuple[int, int], bytes]] = {}
        self._floor: dict[str, tuple[int, int]] = {}

    def sign(self, message: Message) -> Message:
        """The message with this node's open attestations signed. Raises SigningRefused."""
        signatures = self._signatures(message.attestations())
        return message.signed(signatures) if signatures else message

    def seal(self, rules: Rules, block: Block) -> Block:
        """A block made here, with its seal where its rules want one. Raises SigningRefused."""
        if not isinstance(rules, SealRules):
            return block
        seal = rules.seal(block.head, self._signatures(rules.seal_attestations(block.head)))
        return Block(block.header, block.manifest, block.transactions, seal)

    def _signatures(self, attestations: Iterable[Attestation]) -> list[bytes]:
        """The signatures of those that have none yet, in order."""
        signatures = []
        for attestation in attestations:
            if attestation.signature:
                continue
            assert attestation.signer == self.me, "an engine signs for nobody else"
            self._guard(attestation.slot, sha256(attestation.content))
            signatures.append(self._sign(attested_bytes(self._chain_id, self._engine, attestation)))
        return signatures

    def _guard(self, slot: Slot, digest: bytes) -> None:
        signed = self._signed.setdefault(slot.kind, OrderedDict())
        place = (slot.height, slot.view)
        before = signed.get(place)
        if before is not None:
            if before != digest:
                raise SigningRefused(f"a second content for slot {slot}")
            return
        if place <= self._floor.get(slot.kind, (-1, -1)):
            raise SigningRefused(f"slot {slot} lies below the signing window")
        signed[place] = digest
        if len(signed) > GUARD_SLOTS_MAX:
            lowest = min(signed)
            del signed[lowest]
            self._floor[slot.kind] = lowest


def _tag(kind: type[Message]) -> int:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int), f"{kind.__name__} needs an integer tag"
    return tag
