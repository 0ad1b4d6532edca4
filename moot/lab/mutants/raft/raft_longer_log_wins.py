"""A vote goes to the longer log, whatever its terms."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-longer-log-wins",
    engine="raft",
    rule="the later last term wins, then the longer log",
    source="Ongaro and Ousterhout 2014, section 5.4.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._is_up_to_date",
            "return (message.last_term, message.last_height) >= (self._tip_term, self._tip.height)",
            "return message.last_height >= self._tip.height",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut", "kill"),
    load_tps=12.0,
)
