"""Which rules judge which block: looked up by era, never taken for one and the same."""

from __future__ import annotations

from chain.genesis import Era, Genesis
from chain.hashing import BlockId
from chain.ledger import Ledger
from chain.ledger.ledger import FLUSH_BLOCKS, FLUSH_DEPTH
from chain.membership import MembershipRules
from chain.signatures import Verifier
from chain.storage import Store
from chain.view import ChainView
from consensus import registry
from consensus.contract import ConfirmationRules, EngineProtocol, Rules


class EraBook:
    """Engines' protocols and rules by era, made once each."""

    def __init__(self) -> None:
        self._rules: dict[Era, Rules] = {}

    def rules(self, era: Era) -> Rules:
        """The rules of an era. Raises UnknownEngine or ValueError (bad parameters)."""
        rules = self._rules.get(era)
        if rules is None:
            rules = self.protocol(era).rules(registry.era_parameters(era))
            self._rules[era] = rules
        return rules

    def membership(self, era: Era) -> MembershipRules:
        """How the members of an era change: what the ledger executes votes by."""
        properties = self.rules(era).properties
        return MembershipRules(properties.membership, properties.quorum)

    def rules_after(self, view: ChainView, parent: BlockId) -> Rules:
        """The rules that judge the child of ``parent``."""
        return self.rules(view.params(parent))

    def confirm(self, ledger: Ledger) -> None:
        """Lets the engine say what is confirmed on a ledger, where it has a rule of its own."""

        def confirmed() -> BlockId:
            rules = self.rules(ledger.params(ledger.head()))
            assert isinstance(rules, ConfirmationRules), "one era's kind of confirmation for all"
            return rules.confirmed(ledger)

        if isinstance(self.rules(ledger.params(ledger.head())), ConfirmationRules):
            ledger.confirm_by(confirmed)

    def open_ledger(
        self,
        store: Store,
        genesis: Genesis,
        verifier: Verifier,
        flush_depth: int = FLUSH_DEPTH,
        flush_blocks: int = FLUSH_BLOCKS,
    ) -> Ledger:
        """The ledger of a chain, under what the rules of its eras say.

        Raises what ``rules`` and Ledger raise.
        """
        finalizes = self.rules(genesis.eras[0]).properties.finalizes
        return Ledger(
            store, genesis, verifier, finalizes, self.membership, flush_depth, flush_blocks
        )

    def protocol(self, era: Era) -> EngineProtocol:
        return registry.protocol(era.engine)
