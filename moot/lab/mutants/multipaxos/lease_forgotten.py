"""A restarted acceptor promises others at once."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="lease-forgotten",
    engine="multipaxos",
    under="multipaxos",
    rule="a lease outlives the crash of an acceptor",
    source="Chandra et al., Paxos Made Live, section 5.2",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._begin",
            "if self._record_lost or self._loaded.promised.round:",
            "if False:",
        ),
    ),
    faults=("kill", "crash-at-effect"),
    minutes=0.6,
    parameters={"lease_ms": 8_000, "renew_ms": 3_900, "election_ms": 60, "election_ms_max": 60},
    nodes=3,
)
