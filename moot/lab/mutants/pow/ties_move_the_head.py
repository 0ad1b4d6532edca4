"""Another branch of equal work replaces the first one."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="ties-move-the-head",
    engine="pow",
    rule="of equal branches the one seen first stays",
    source="Nakamoto 2008, section 5",
    rewrites=(
        Rewrite(
            "consensus.pow.engine:PowEngine._on_imported",
            "<= view.weight",
            "< view.weight",
        ),
    ),
    under="pow",
    faults=("delay",),
)
