"""Milliseconds are taken for seconds."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-waits-seconds",
    engine="raft",
    rule="broadcast time << election timeout << time between failures",
    source="Ongaro and Ousterhout 2014, section 5.6",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._draw_timeout",
            "self._rng.randint(low, high)",
            "1_000 * self._rng.randint(low, high)",
        ),
    ),
    nodes=3,
    minutes=0.1,
)
