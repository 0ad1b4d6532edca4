"""Payments in a block are taken to be signed."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="block-signatures-unchecked",
    engine="node",
    rule="every payment in a block was signed by its sender",
    source="Nakamoto 2008, section 5 (step 5)",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger._check_signatures",
            "    try:\n",
            "    return\n    try:\n",
        ),
    ),
    liars=("forging-proposer",),
    faults=("kill",),
    minutes=0.6,
)
