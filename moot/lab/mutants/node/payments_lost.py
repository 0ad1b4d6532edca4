"""A payment costs its fee and moves nothing; its receipt says that it was done."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="payments-lost",
    engine="node",
    rule="an acknowledged payment took effect",
    source="Kingsbury, Jepsen: lost updates",
    rewrites=(
        Rewrite(
            "chain.execution:BlockExecution._apply_one",
            "if recipient != sender:",
            "if recipient == sender:",
        ),
    ),
)
