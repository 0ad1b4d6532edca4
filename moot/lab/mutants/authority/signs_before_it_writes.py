"""The record follows the block that was signed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-before-it-writes",
    engine="authority",
    rule="the record is on disk before the block is signed",
    source="DESIGN: write before you speak; EIP-3076",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._on_turn",
            "[Persist(record), build, *self._arm(view, now)]",
            "[build, Persist(record), *self._arm(view, now)]",
        ),
    ),
    under="authority",
)
