"""A leader answers reads for as long as it believes to lead."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reads-without-a-lease",
    engine="multipaxos",
    under="multipaxos",
    rule="a read needs a lease, or a majority",
    source="Chandra et al., Paxos Made Live, section 5.2",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._holds_lease",
            "self._leading and self._lease.holds(self._members, self._now.steady_ms, lease_ms)",
            "self._leading",
        ),
    ),
    faults=("partition", "one-way-cut", "pause"),
    minutes=0.6,
    load_tps=8.0,
)
