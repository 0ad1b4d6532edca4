"""Takes half of the acceptors for a majority."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="half-is-no-majority",
    engine="paxos",
    under="paxos",
    rule="any two majorities share an acceptor",
    source="Lamport, Paxos Made Simple, section 2.1 and 2.2",
    rewrites=(
        Rewrite(
            "chain.validators:majority",
            "return n // 2 + 1",
            "return n // 2",
        ),
    ),
    faults=("partition",),
)
