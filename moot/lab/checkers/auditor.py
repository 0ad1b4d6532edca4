"""Validity and supply: an auditor executes every final block again, and counts the coins.

Twice: by the production code, honest, and by the naive ledger (moot.lab.checkers.books).
"""

from __future__ import annotations

from chain.block import Block
from chain.errors import InvalidBlock, InvalidProof
from chain.execution import total_supply
from chain.genesis import Genesis
from chain.hashing import BlockId
from chain.proof import Proof
from chain.signatures import Verifier
from chain.state.accounts import get_supply
from chain.storage.memory import MemoryStore
from consensus.registry import protocol
from moot.lab.checkers.books import BookKeeper
from moot.lab.planting import judged_honestly
from moot.lab.report import Findings
from moot.node.eras import EraBook
from moot.node.gate import Gate
from moot.node.importer import check_common

COUNT_EVERY = 32
"""Blocks between two counts of all coins."""


class Auditor:
    """A ledger of its own, fed with what became final, in order of height."""

    def __init__(self, genesis: Genesis, verifier: Verifier, findings: Findings) -> None:
        found = protocol(genesis.eras[0].engine)
        self._eras = EraBook()
        self._ledger = self._eras.open_ledger(MemoryStore(), genesis, verifier)
        self._gate = Gate(found, self._ledger.chain_id, verifier)
        self._findings = findings
        self.keeper = BookKeeper(genesis, findings)
        self._supply = get_supply(self._ledger.state())

    @property
    def height(self) -> int:
        return self._ledger.height(self._ledger.head())

    def block(self, block: BlockId) -> Block | None:
        """A block that was audited."""
        return self._ledger.block(block)

    @judged_honestly
    def audit(self, block: Block, proof: Proof | None, at_ms: int) -> None:
        """Executes a block on the one before it. It must be the next."""
        ledger = self._ledger
        if block.previous != ledger.head():
            what = f"height {block.height} does not stand on the final block below it"
            self._findings.violated("validity", what, at_ms)
            return
        rules = self._eras.rules_after(ledger, block.previous)
        head = block.head
        try:
            check_common(head, ledger.header(block.previous), rules)
            rules.check_header(head, ledger)
            changes = rules.state_changes(head, ledger)
            ledger.insert(block, rules.weight(head), changes)
            if ledger.finalizes:
                self._check_proof(block, proof)
        except (InvalidBlock, InvalidProof, KeyError) as error:
            self._findings.violated("validity", f"height {block.height}: {error}", at_ms)
            return
        self.keeper.append(block, changes, at_ms)
        self.minted(block.manifest.reward)
        ledger.set_head(block.id)
        if ledger.finalizes:
            ledger.finalize(block.id, None)
        if block.height % COUNT_EVERY == 0:
            self.count(at_ms)

    def minted(self, amount: int) -> None:
        """So many base units more should exist."""
        self._supply += amount

    @judged_honestly
    def audit_proof(self, block: BlockId, proof: Proof, name: str, at_ms: int) -> None:
        """Checks the proof that another node holds of a block audited before."""
        body = self._ledger.block(block)
        if body is None:
            return
        try:
            self._check_proof(body, proof)
        except InvalidProof as error:
            self._findings.violated(
                "validity", f"{name} holds a false proof of height {body.height}: {error}", at_ms
            )

    def _check_proof(self, block: Block, proof: Proof | None) -> None:
        if proof is None:
            raise InvalidProof("no-proof", "it was finalized without a proof")
        rules = self._eras.rules_after(self._ledger, block.previous)
        validators = self._ledger.validators(block.previous)
        self._gate.check_proof(rules, block.head, proof, validators)

    @judged_honestly
    def count(self, at_ms: int) -> None:
        """All balances together are what genesis allocated and blocks have minted since."""
        state = self._ledger.state()
        counted, stated = total_supply(state), get_supply(state)
        if not counted == stated == self._supply:
            self._findings.violated(
                "supply",
                f"{counted} base units exist, the state says {stated}, minted were {self._supply}",
                at_ms,
            )
