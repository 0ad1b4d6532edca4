"""2f + 1 is taken for a quorum whatever n is."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="quorum-for-multiples-only",
    engine="pbft",
    rule="the quorum is ceil((n + f + 1) / 2), which is 2f + 1 only where n = 3f + 1",
    source="Castro and Liskov, OSDI'99, section 4, and quorum intersection for other n",
    rewrites=(
        Rewrite(
            "chain.validators:quorum_byzantine",
            "(n + faults_byzantine(n) + 2) // 2",
            "2 * faults_byzantine(n) + 1",
        ),
    ),
    nodes=6,
)
