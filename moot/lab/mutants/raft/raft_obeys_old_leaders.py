"""A leader of an earlier term is followed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-obeys-old-leaders",
    engine="raft",
    rule="an append of an earlier term is refused",
    source="Ongaro and Ousterhout 2014, figure 2, AppendEntries 1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._on_append",
            "if message.term < self._term:",
            "if False:",
        ),
        Rewrite("consensus.raft.elections:Elections._follow", "assert term >= self._term", "pass"),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "one-way-cut", "delay"),
)
