"""The record is written, not synced."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="persists-unsynced",
    engine="node",
    rule="a Persist is on disk before anything behind it happens",
    source="Alagappan et al., FAST 2018; Ongaro and Ousterhout 2014, figure 2",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger.persist",
            "self._disk.write(rows, sync=True)",
            "self._disk.write(rows, sync=False)",
        ),
    ),
    faults=("power-failure",),
)
