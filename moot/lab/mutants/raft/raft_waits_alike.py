"""All servers wait for the same time."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-waits-alike",
    engine="raft",
    rule="each election timeout is drawn anew",
    source="Ongaro and Ousterhout 2014, section 5.2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._draw_timeout", "self._rng.randint(low, high)", "low"
        ),
    ),
    nodes=3,
    minutes=0.1,
    # So far apart that a timeout drawn by chance is all that separates two candidates.
    delay_ms=(50, 51),
)
