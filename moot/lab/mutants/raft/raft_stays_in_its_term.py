"""A leader that is answered from a later term goes on leading."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-stays-in-its-term",
    engine="raft",
    rule="who hears of a later term enters it and follows",
    source="Ongaro and Ousterhout 2014, section 5.1 and figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_append_reply",
            "self._catch_up_with(message.term)",
            "pass",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "one-way-cut", "partial-partition"),
)
