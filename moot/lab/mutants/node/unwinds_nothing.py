"""Taking back blocks that are on disk already leaves their state there."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="unwinds-nothing",
    engine="node",
    rule="a block that is taken back leaves no trace in the state",
    source="Bitcoin Core, DisconnectBlock",
    rewrites=(
        Rewrite(
            "chain.ledger.flush:retreat_rows",
            "rows[disk.area + key] = value",
            "pass",
        ),
    ),
    under="pow",
    faults=("partition", "kill", "kill-all"),
    parameters={"confirmation_depth": 1},
    flush_depth=1,
    delay_ms=(100, 900),
    minutes=1.0,
    load_tps=10.0,
)
