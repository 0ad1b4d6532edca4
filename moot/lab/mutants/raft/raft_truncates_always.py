"""Each append ends the log, also one that comes late."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-truncates-always",
    engine="raft",
    rule="only a conflicting entry deletes what follows it",
    source="Ongaro and Ousterhout 2014, figure 2, AppendEntries 3",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._extend",
            "if view.descends(self._record.tip, last.block_id):",
            "if False:",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("reordering", "duplication", "delay"),
    load_tps=12.0,
)
