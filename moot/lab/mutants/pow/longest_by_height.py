"""The longest branch wins, not the one with the most work."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="longest-by-height",
    engine="pow",
    rule="the head is the branch of most cumulative work",
    source="Bitcoin Core, nChainWork",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.weight",
            "work(target_from_bits(block.header.bits))",
            "1",
        ),
    ),
    under="pow",
    faults=("partition", "delay"),
    parameters={"fixed_difficulty": 0, "half_life_ms": 10000, "target_spacing_ms": 3000},
    minutes=0.5,
)
