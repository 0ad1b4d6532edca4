"""Election timeouts end by a clock that people set."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-waits-by-the-wall-clock",
    engine="raft",
    rule="election timeouts run on a clock that never steps",
    source="Ongaro and Ousterhout 2014, section 5.6",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._draw_timeout", "self._now.steady_ms", "self._now.wall_ms"
        ),
        Rewrite(
            "consensus.raft.server:Server._put_off", "self._now.steady_ms", "self._now.wall_ms"
        ),
        Rewrite(
            "consensus.raft.server:Server._arm_election_timer",
            "self._now.steady_ms",
            "self._now.wall_ms",
        ),
        Rewrite(
            "consensus.raft.elections:Elections._on_election_timer",
            "self._now.steady_ms",
            "self._now.wall_ms",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("clock-jump", "clock-skew"),
)
