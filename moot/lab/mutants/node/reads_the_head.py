"""What is told as an account's confirmed state is the head's, which may still be taken back."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reads-the-head",
    engine="node",
    rule="a confirmed read answers from the confirmed block",
    source="Adya, PhD thesis 1999, phenomenon G1a (aborted read)",
    rewrites=(
        Rewrite(
            "chain.ledger.reading:Reading.account",
            "self.state(at)",
            "self.state()",
        ),
    ),
    under="pow",
)
