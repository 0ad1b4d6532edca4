"""Half of all is taken for a quorum."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="quorum-of-half",
    engine="pbft",
    rule="any two quorums share an honest member",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "chain.validators:quorum_byzantine",
            "(n + faults_byzantine(n) + 2) // 2",
            "n // 2",
        ),
    ),
    faults=("partition",),
)
