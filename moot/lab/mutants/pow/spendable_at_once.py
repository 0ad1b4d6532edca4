"""Rewards can be spent in the very block that mints them."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="spendable-at-once",
    engine="pow",
    rule="a reward matures before it can be spent",
    source="Bitcoin Core, COINBASE_MATURITY",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.state_changes",
            "block.height + self.parameters.maturity",
            "block.height",
        ),
    ),
    under="pow",
)
