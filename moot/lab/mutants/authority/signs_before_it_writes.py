"""The record follows the block that was signed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-before-it-writes",
    engine="authority",
    rule="the record is on disk before the block is signed",
    source="EIP-3076; consensus.contract, law 2: write before you speak",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._on_turn",
            "[Persist(record), build, *self._arm(view, now)]",
            "[build, Persist(record), *self._arm(view, now)]",
        ),
    ),
    under="authority",
)
