"""A new view is believed, not recomputed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="new-view-on-trust",
    engine="pbft",
    rule="everybody recomputes the choice from a quorum of view changes",
    source="Castro and Liskov, OSDI'99, section 4.4",
    rewrites=(
        Rewrite(
            "consensus.pbft.view_change:check_new_view",
            "    if message.sender != primary_of(members, message.view):",
            "    return\n    if message.sender != primary_of(members, message.view):",
        ),
    ),
    liars=("usurper",),
    faults=("delay", "loss"),
)
