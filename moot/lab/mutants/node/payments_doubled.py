"""A payment is applied twice, with one receipt."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="payments-doubled",
    engine="node",
    rule="a payment takes effect once, however often it is said",
    source="Ongaro, thesis, section 6.3 (exactly once)",
    rewrites=(
        Rewrite(
            "chain.execution:BlockExecution._apply_one",
            "balance -= action.amount",
            "balance -= 2 * action.amount",
        ),
        Rewrite(
            "chain.execution:BlockExecution._apply_one",
            "received + action.amount",
            "received + 2 * action.amount",
        ),
    ),
)
