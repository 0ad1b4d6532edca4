"""A block is taken before its slot has begun."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-ahead-of-the-clock",
    engine="authority",
    rule="a block ahead of the own clock waits until its slot begins",
    source="EOS, Lisk (drift bound)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityRules.earliest_ms",
            "claims_of(block).slot * self.parameters.slot_ms",
            "0",
        ),
    ),
    under="authority",
    faults=("clock-skew", "clock-jump"),
)
