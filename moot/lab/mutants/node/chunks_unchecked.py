"""A chunk of a snapshot is taken at its word, and so is the whole state."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="chunks-unchecked",
    engine="node",
    rule="every chunk of a fetched state is checked against the state root of a final block",
    source="Tendermint, state sync: chunks are not trusted until the application hash is checked",
    rewrites=(
        Rewrite(
            "moot.node.snapshots:SnapshotKeeper.add",
            "chunk.check(staged.root)",
            "pass",
        ),
        Rewrite(
            "chain.ledger.staging:Staging._check_root",
            "self._state.root != self.snapshot.root",
            "False",
        ),
    ),
    minutes=0.6,
    liars=("chunk-forger",),
    faults=("kill", "wiped-disk", "partition"),
    snapshots="4,2,5,6",
)
