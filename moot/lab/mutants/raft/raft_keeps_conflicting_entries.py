"""A follower keeps a conflicting entry and says that it matches."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-keeps-conflicting-entries",
    engine="raft",
    rule="a conflicting entry and all that follow it are deleted",
    source="Ongaro and Ousterhout 2014, figure 2, AppendEntries 3",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._extend",
            "if view.descends(self._record.tip, last.block_id):",
            "if self._record.height >= last.height:",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut"),
    load_tps=8.0,
)
