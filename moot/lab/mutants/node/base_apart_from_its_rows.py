"""The pointer to the flushed state is written by itself, before the state."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="base-apart-from-its-rows",
    engine="node",
    rule="state and the height it stands for are written together",
    source="etcd 3.5 (issue 13766): applied index and state in two writes",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger._advance",
            "self._disk.write(rows, sync=True)",
            (
                "self._disk.write({b'Mbase': rows[b'Mbase']}, sync=True)\n"
                "        self._disk.write(rows, sync=True)"
            ),
        ),
    ),
    under="pow",
    faults=("crash-at-write",),
    parameters={"confirmation_depth": 1},
    flush_depth=1,
    minutes=0.6,
)
