"""A header may be dated as far ahead as its miner likes."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="future-unchecked",
    engine="pow",
    rule="a header is at most two hours ahead of the clock",
    source="Bitcoin Core, MAX_FUTURE_BLOCK_TIME; Culubas 2011",
    rewrites=(
        Rewrite(
            "consensus.pow.rules:PowRules.earliest_ms",
            "max(0, block.header.time_s * 1_000 - self.parameters.future_limit_ms)",
            "0",
        ),
    ),
    under="pow",
    liars=("timestamp-liar",),
)
