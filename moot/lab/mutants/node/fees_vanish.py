"""Fees are taken from the sender and given to nobody."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="fees-vanish",
    engine="node",
    rule="coins move; they are made only by the engine's changes",
    source="CVE-2010-5139's class",
    rewrites=(
        Rewrite(
            "chain.execution:BlockExecution.apply",
            "self.fees += fee",
            "self.fees += 0 * fee",
        ),
    ),
)
