"""Proposes its own block, whatever the promises show."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="keeps-its-own-value",
    engine="paxos",
    under="paxos",
    rule="the value of the highest-numbered accepted proposal is bound",
    source="Lamport, Paxos Made Simple, section 2.2, phase 2 (P2c)",
    rewrites=(
        Rewrite(
            "consensus.paxos.engine:PaxosEngine._try_propose",
            "bound = proposer.bound_to(self._height)",
            "bound = None",
        ),
    ),
    parameters={"spread_ms": 1, "retry_ms": 100},
    delay_ms=(20, 60),
    nodes=3,
    faults=("loss", "selective-loss"),
    load_tps=8.0,
)
