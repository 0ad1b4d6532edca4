"""A certificate may name one signer several times."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="duplicate-signers",
    engine="pbft",
    rule="a quorum is of distinct members",
    source="Castro and Liskov, OSDI'99, section 4.2; forged certificates",
    rewrites=(
        Rewrite(
            "consensus.pbft.certificates:_check_signers",
            "left >= right",
            "left > right",
        ),
    ),
    liars=("forger",),
)
