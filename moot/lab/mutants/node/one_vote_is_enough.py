"""One member admits and expels as it likes."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="one-vote-is-enough",
    engine="node",
    rule="a quorum of the voters changes the members",
    source="docs/decisions/0014",
    rewrites=(
        Rewrite(
            "chain.membership:MembershipBook.cast",
            "if len(tallies[wish]) >= quorum:",
            "if len(tallies[wish]) >= 1:",
        ),
    ),
    nodes=5,
    faults=("membership",),
)
