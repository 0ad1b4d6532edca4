"""Votes for other blocks count too."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="any-digest-counts",
    engine="pbft",
    rule="votes count for one digest each",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.book:Book.voters",
            "if vote.block_id == block",
            "if vote.block_id",
        ),
    ),
    liars=("equivocating-voter",),
)
