"""The new half of a joint configuration decides alone."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-one-half-decides",
    engine="raft",
    rule="a joint configuration decides by majorities of both halves",
    source="Ongaro and Ousterhout 2014, section 6",
    under="raft",
    rewrites=(
        Rewrite(
            "chain.validators:ValidatorSet.decided_by",
            "for half in (self.voters, self.outgoing)",
            "for half in (self.voters,)",
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("membership", "kill"),
)
