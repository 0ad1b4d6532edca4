"""What peers say of consensus: frames, finality proofs, evidence. Checked before the engine hears.

What does not hold costs the peer that brought it, and reaches no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chain.address import key_address
from chain.errors import Invalid, InvalidProof
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.proof import Evidence, Proof
from chain.validators import ValidatorSet
from consensus import contract
from consensus.contract import Event, Rules
from moot.node.eras import EraBook
from moot.node.evidence import EvidenceBook
from moot.node.gate import Gate
from moot.node.ports import Peer, Shell
from moot.node.roll import Roll
from p2p import wire


class ConsensusInbox:
    """``peers``: those linked now, as the core keeps them; ``post`` gives the engine an event."""

    def __init__(
        self,
        ledger: Ledger,
        eras: EraBook,
        rules: Rules,
        gate: Gate,
        roll: Roll,
        shell: Shell,
        peers: Mapping[bytes, Peer],
        post: Callable[[Event], None],
    ) -> None:
        self._ledger = ledger
        self._eras = eras
        self._rules = rules
        self._gate = gate
        self._roll = roll
        self._shell = shell
        self._peers = peers
        self._post = post
        self.evidence = EvidenceBook()

    def frame(self, key: bytes, frame: wire.ConsensusFrame) -> None:
        """An engine's message, from the peer with that key."""
        sender = key_address(key)
        try:
            message = self._gate.unpack(frame, sender, self._roll.speakers)
        except Invalid as error:
            fields = {"code": error.code, "peer": key.hex()}
            self._shell.log("warning", "message-refused", fields)
            self._shell.network.misbehaved(key, "invalid-consensus-message")
            return
        if message is not None:
            self._post(contract.MessageReceived(sender, message))

    def proof(self, block: BlockId, proof: Proof, peer: bytes) -> None:
        """A finality proof, as ``peer`` brought it, of a block that may not be known here.

        Of one that is final already it matters only where it shows a change of the members.
        """
        if not self._ledger.knows(block):
            return
        head = self._ledger.header(block)
        is_final = head.height <= self._ledger.height(self._ledger.finalized())
        if (is_final and (head.height, block) not in self._ledger.unproven) or head.height == 0:
            return
        rules = self._eras.rules_after(self._ledger, head.previous)
        try:
            self._gate.check_proof(rules, head, proof, self._ledger.validators(head.previous))
        except InvalidProof as error:
            self._shell.log("warning", "proof-refused", {"code": error.code})
            self._shell.network.misbehaved(peer, "invalid-proof")
            return
        if is_final:
            self._ledger.put_proof(block, proof)
        else:
            self._post(contract.ProofSeen(block, proof))

    def evidence_found(self, key: bytes, evidence: Evidence) -> None:
        """Two messages that contradict each other, as the peer says."""
        if evidence in self.evidence:
            return
        try:
            self._gate.check_evidence(self._rules, evidence, self._deciders_of(evidence))
        except Invalid:
            self._shell.network.misbehaved(key, "invalid-evidence")
            return
        self.spread(evidence, key)

    def _deciders_of(self, evidence: Evidence) -> ValidatorSet:
        """Who decided the height that the two messages are about; the newest known at most."""
        ledger = self._ledger
        attested = self._rules.evidence_attestations(evidence)
        head = ledger.height(ledger.head())
        height = min((one.slot.height for one in attested), default=head + 1)
        return ledger.validators(ledger.ancestor(ledger.head(), max(0, min(height - 1, head))))

    def spread(self, evidence: Evidence, source: bytes | None) -> None:
        """Keeps it and tells all peers but ``source``, if it is news. Its signatures hold."""
        guilty = next((one.signer for one in self._rules.evidence_attestations(evidence)), b"")
        if not self.evidence.add(evidence, guilty):
            return
        for key in self._peers:
            if key != source:
                self._shell.network.send(key, wire.EvidenceFound(evidence))
        self._post(contract.EvidenceSeen(evidence))
