"""A leader goes on when it hears of a later term."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-ignores-later-terms",
    engine="raft",
    rule="whoever sees a later term follows",
    source="Ongaro and Ousterhout 2014, section 5.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_append_reply",
            "self._catch_up_with(message.term)",
            "pass",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut", "selective-loss"),
)
