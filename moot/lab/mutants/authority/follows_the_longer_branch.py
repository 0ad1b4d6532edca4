"""The head is the longer branch, not the heavier one."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="follows-the-longer-branch",
    engine="authority",
    rule="the heaviest branch is the head",
    source="EIP-225 (total difficulty)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._is_better",
            "view.weight(block), view.weight(than)",
            "view.height(block), view.height(than)",
        ),
    ),
    under="authority",
    faults=("partition", "kill"),
)
