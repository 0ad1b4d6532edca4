"""A miner may mint what it likes."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reward-unchecked",
    engine="pow",
    rule="a block mints its height's subsidy and no more",
    source="Bitcoin Core, GetBlockSubsidy; CVE-2010-5139's class",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.check_header",
            "manifest.reward != self.reward(block.height)",
            "False",
        ),
    ),
    under="pow",
    liars=("invalid-block-maker",),
)
