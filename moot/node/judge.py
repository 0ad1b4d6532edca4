"""Judging a chain without being a node of it: for verifying, exporting and importing, offline.

Every check that a running node makes is made here by the same parts (importer, ledger, gate); only
engine and network are missing. What is final is what a proof shows to be final.
"""

from __future__ import annotations

from collections.abc import Sequence

from chain.block import Block
from chain.errors import InvalidBlock, InvalidProof
from chain.genesis import Era, Genesis
from chain.hashing import BlockId, show_id
from chain.ledger import Ledger
from chain.proof import Proof
from chain.signatures import Verifier
from chain.storage import Store
from consensus.contract import Attestation
from moot.node.eras import EraBook
from moot.node.gate import Gate
from moot.node.importer import Arrival, Importer


class ChainJudge:
    """A ledger in ``store``, and the judgement of what comes into it.

    Raises UnknownEngine or ValueError where the genesis names what is not installed, and what
    Ledger raises.
    """

    def __init__(self, store: Store, genesis: Genesis, verifier: Verifier) -> None:
        self._eras = EraBook()
        self._verifier = verifier
        self._gates: dict[str, Gate] = {}
        self.properties = self._eras.rules(genesis.eras[0]).properties
        self.finalizes = self.properties.finalizes
        self.ledger = self._eras.open_ledger(store, genesis, verifier)
        self._eras.confirm(self.ledger)
        self._importer = Importer(
            self.ledger,
            self._eras,
            done=lambda arrival, result: None,
            fetch=lambda blocks, peer: None,
            hold=lambda until_ms: None,
            verified=self._verified,
        )

    def restore(self, wall_ms: int) -> None:
        """Takes up what the store holds above its flushed state, as a starting node does."""
        ledger = self.ledger
        stored_head = ledger.stored_head()
        for block in ledger.replay():
            self._importer.offer(Arrival(block, "replay", None), wall_ms)
        if ledger.knows(stored_head) and ledger.descends(stored_head, ledger.finalized()):
            ledger.set_head(stored_head)

    def top(self) -> int:
        """Height up to which the chain is worth showing to others.

        The last final block; where nothing ever is final, the head.
        """
        ledger = self.ledger
        return ledger.height(ledger.finalized() if self.finalizes else ledger.head())

    def take(self, block: Block, proof: Proof | None, wall_ms: int) -> bool:
        """Judges a block, and what is to show it final. False: it was known.

        Head and finality follow: the last proven block where the engine finalizes (without a proof
        a block only waits for a proven descendant), else the heaviest branch (of
        equal ones that which the engine's properties name).
        Raises InvalidBlock and InvalidProof; the sentence names the block.
        """
        known = self.ledger.knows(block.id)
        if not known:
            self._import(block, wall_ms)
        if self.finalizes:
            if proof is not None and block.height > self.ledger.height(self.ledger.finalized()):
                self._finalize(block, proof)
        elif self._is_better(block.id, self.ledger.head()):
            self.ledger.set_head(block.id)
        return not known

    def _is_better(self, block: BlockId, than: BlockId) -> bool:
        weight, most = self.ledger.weight(block), self.ledger.weight(than)
        by_id = self.properties.ties == "smaller-id"
        return weight > most or (by_id and weight == most and block < than)

    def _import(self, block: Block, wall_ms: int) -> None:
        result = self._importer.offer(Arrival(block, "sync", None), wall_ms)
        match result.outcome:
            case "imported" | "known":
                return
            case "rejected":
                raise InvalidBlock(result.code, _of(block, result.sentence))
            case "held":
                raise InvalidBlock("from-the-future", _of(block, "its time is ahead of the clock"))
            case "orphaned":
                raise InvalidBlock("unknown-parent", _of(block, "the block before it is missing"))

    def _finalize(self, block: Block, proof: Proof) -> None:
        ledger = self.ledger
        if not ledger.descends(block.id, ledger.finalized()):
            raise InvalidProof(
                "conflicts-with-finalized", _of(block, "another branch is final here already")
            )
        era = ledger.params(block.previous)
        validators = ledger.validators(block.previous)
        try:
            self._gate(era).check_proof(self._eras.rules(era), block.head, proof, validators)
        except InvalidProof as error:
            raise InvalidProof(error.code, _of(block, f"its proof: {error.sentence}")) from None
        ledger.set_head(block.id)
        ledger.finalize(block.id, proof)

    def _gate(self, era: Era) -> Gate:
        gate = self._gates.get(era.engine)
        if gate is None:
            gate = Gate(self._eras.protocol(era), self.ledger.chain_id, self._verifier)
            self._gates[era.engine] = gate
        return gate

    def _verified(self, attestations: Sequence[Attestation]) -> bool:
        # A seal is signed for the engine of its height, which is the head's as we go upwards.
        return self._gate(self.ledger.params(self.ledger.head())).verified(attestations)


def block_at(ledger: Ledger, height: int) -> tuple[Block, Proof | None]:
    """A block of the best chain with its proof. KeyError where the body is not held."""
    block_id: BlockId | None = ledger.id_at(height)
    block = None if block_id is None else ledger.block(block_id)
    if block is None:
        raise KeyError(height)
    return block, ledger.proof(block.id)


def _of(block: Block, sentence: str) -> str:
    return f"block {show_id(block.id)} at height {block.height}: {sentence}"
