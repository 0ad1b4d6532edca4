"""Of two logs that end in one term the shorter one is good enough."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-votes-by-term-alone",
    engine="raft",
    rule="of logs that end in the same term the longer one is more up to date",
    source="Ongaro and Ousterhout 2014, section 5.4.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._is_up_to_date",
            "return (message.last_term, message.last_height) >= (self._tip_term, self._tip.height)",
            "return message.last_term >= self._tip_term",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "loss", "kill"),
    load_tps=12.0,
)
