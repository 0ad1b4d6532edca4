"""A follower commits what its own log holds at the leader's height."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-commits-by-height",
    engine="raft",
    rule="min(leaderCommit, index of last new entry)",
    source="Ongaro and Ousterhout 2014, figure 2, AppendEntries 5",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._try_finalize",
            "if self._view.knows(one.block_id)",
            "if self._record.height >= one.height",
        ),
        Rewrite(
            "consensus.raft.follower:Follower._finalize",
            "view, block = self._view, statement.block_id",
            "view = self._view\n    block = view.ancestor(self._record.tip, statement.height)",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut", "loss"),
    load_tps=8.0,
)
