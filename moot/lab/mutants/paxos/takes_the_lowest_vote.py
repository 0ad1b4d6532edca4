"""Of the votes that the promises show it takes the lowest."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="takes-the-lowest-vote",
    engine="paxos",
    under="paxos",
    rule="the value of the highest-numbered accepted proposal is bound",
    source="Lamport, Paxos Made Simple, section 2.2, phase 2 (P2c)",
    rewrites=(
        Rewrite(
            "consensus.paxos.proposer:Proposer.bound_to",
            "return max(",
            "return min(",
        ),
    ),
    parameters={"spread_ms": 1, "retry_ms": 100},
    delay_ms=(20, 60),
    nodes=5,
    faults=("loss", "selective-loss"),
    load_tps=8.0,
)
