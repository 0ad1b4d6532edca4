"""A refused proposer tries again soon, and always as soon."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="duels-without-a-pause",
    engine="paxos",
    under="paxos",
    rule="a proposer leaves the floor for a random, growing pause",
    source="Lamport, Paxos Made Simple, section 2.4",
    rewrites=(
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._set_try_timer",
            "delay_ms = pause_ms + self._rng.randint(0, pause_ms)",
            "delay_ms = self._parameters.retry_ms",
        ),
    ),
    parameters={"spread_ms": 1, "retry_ms": 100},
    delay_ms=(50, 60),
    minutes=0.1,
)
