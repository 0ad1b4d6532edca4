"""A block out of turn weighs as much as one in turn."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="all-blocks-weigh-the-same",
    engine="authority",
    rule="a block in turn weighs 2, any other 1",
    source="EIP-225, DIFF_INTURN and DIFF_NOTURN",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityRules.weight",
            "IN_TURN_WEIGHT if claims_of(block).in_turn else OUT_OF_TURN_WEIGHT",
            "OUT_OF_TURN_WEIGHT",
        ),
    ),
    under="authority",
    faults=("partition", "kill"),
)
