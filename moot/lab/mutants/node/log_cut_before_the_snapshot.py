"""Old blocks are forgotten before the snapshot that stands for them is durable."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="log-cut-before-the-snapshot",
    engine="node",
    rule="the log is discarded only up to a snapshot that is on disk",
    source="Ongaro and Ousterhout 2014, section 7",
    rewrites=(
        Rewrite(
            "moot.node.snapshots:SnapshotKeeper._prune",
            "goal = min(goal, kept[0].height + 1 if kept else 0)",
            "pass",
        ),
    ),
    minutes=0.6,
    faults=("kill", "wiped-disk", "partition"),
    snapshots="12,1,5,3",
)
