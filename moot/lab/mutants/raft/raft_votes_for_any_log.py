"""A vote goes to whoever asks first, whatever its log."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-votes-for-any-log",
    engine="raft",
    rule="a candidate's log is at least as up to date as its voter's",
    source="Ongaro and Ousterhout 2014, section 5.4.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._is_up_to_date",
            "return (message.last_term, message.last_height) >= (self._tip_term, self._tip.height)",
            "return True",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "kill"),
    load_tps=12.0,
)
