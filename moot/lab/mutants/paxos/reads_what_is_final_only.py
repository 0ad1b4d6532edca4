"""A read does not wait for what a majority has merely accepted."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reads-what-is-final-only",
    engine="paxos",
    under="paxos",
    rule="a read waits for everything that was accepted when it came",
    source="Charapko et al., Linearizable Quorum Reads in Paxos (2019), section 3",
    rewrites=(
        Rewrite(
            "consensus.paxos.reads:QuorumReads.answered",
            "tell.height if tell.has_accepted else tell.height - 1",
            "tell.height - 1",
        ),
    ),
    faults=("delay", "partition"),
    minutes=0.6,
    nodes=5,
)
