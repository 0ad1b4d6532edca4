"""Which rules judge which block: looked up by era, never taken for one and the same."""

from __future__ import annotations

from chain.genesis import Era
from chain.hashing import BlockId
from chain.ledger import Ledger
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

    def protocol(self, era: Era) -> EngineProtocol:
        return registry.protocol(era.engine)
