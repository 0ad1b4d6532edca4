"""What is signed does not say in which view."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="votes-without-a-view",
    engine="pbft",
    rule="the signed bytes bind phase, height and view",
    source="Castro and Liskov, OSDI'99, section 4.2; domain separation",
    rewrites=(
        Rewrite(
            "consensus.pbft.messages:statement",
            "(kind, height, view, block)",
            "(kind, height, 0, block)",
        ),
    ),
    faults=("kill",),
    minutes=0.6,
)
