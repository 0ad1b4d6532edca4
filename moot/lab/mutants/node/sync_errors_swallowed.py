"""A failed sync is taken for a success."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="sync-errors-swallowed",
    engine="node",
    rule="after a failed sync nothing may be said: the node stops",
    source="Rebello et al., USENIX ATC 2020",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger.persist",
            "    self._disk.write(rows, sync=True)\n",
            (
                "    try:\n        self._disk.write(rows, sync=True)\n    except Exception:\n  "
                "      pass\n"
            ),
        ),
    ),
    faults=("failing-sync",),
    minutes=0.6,
)
