"""What is signed does not say of which phase it speaks."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="one-signature-for-all-phases",
    engine="pbft",
    rule="a signature is bound to phase, view and chain",
    source="Castro and Liskov, OSDI'99, section 4.2: phases carry different messages",
    rewrites=(
        Rewrite(
            "consensus.pbft.messages:_attest",
            "statement(kind, height, view, block)",
            "statement(PREPARE, height, view, block)",
        ),
    ),
    liars=("phase-shifter",),
)
