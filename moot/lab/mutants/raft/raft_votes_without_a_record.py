"""A server that lost its disk votes at once."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-votes-without-a-record",
    engine="raft",
    rule="who lost its record only listens until it is whole",
    source="Ongaro and Ousterhout 2014, figure 2 (the vote outlives a crash)",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server.__init__",
            "self._listening = record is None",
            "self._listening = False",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("wiped-disk", "partition", "kill", "delay"),
    load_tps=8.0,
)
