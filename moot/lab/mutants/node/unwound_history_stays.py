"""Accounts go on showing payments that were taken back."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="unwound-history-stays",
    engine="node",
    rule="a block that is taken back leaves no trace in the indexes",
    source="Bitcoin Core, txindex and reorganisations",
    rewrites=(
        Rewrite(
            "chain.ledger.flush:retreat_rows",
            "rows[history_key(touch.address, height, touch.position)] = None",
            "pass",
        ),
    ),
    under="pow",
    faults=("partition",),
    parameters={"confirmation_depth": 1},
    flush_depth=1,
    delay_ms=(100, 900),
    minutes=0.6,
)
