"""A change of the members decides the very next block."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="members-change-at-once",
    engine="node",
    rule="who decides a height is fixed some blocks earlier, and its parent commits to it",
    source="Lamport, The Part-Time Parliament, section 3.3.2 (the members of a decree)",
    rewrites=(
        Rewrite(
            "chain.ledger.reading:Reading.validators",
            "self._tree.row(parent).head.manifest.next_validators",
            "self._tree.row(parent).validators",
        ),
    ),
    nodes=5,
    faults=("membership",),
)
