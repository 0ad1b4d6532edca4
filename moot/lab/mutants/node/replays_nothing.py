"""A restarted node forgets the blocks above its flushed state."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="replays-nothing",
    engine="node",
    rule="what was final before a crash is final after it",
    source="Redis-Raft (Jepsen 2020): the log was not loaded",
    rewrites=(
        Rewrite(
            "chain.ledger.ledger:Ledger.replay",
            "if self.knows(block.previous):",
            "if False:",
        ),
    ),
    faults=("kill-all",),
    minutes=0.6,
)
