"""A leader that was stopped past its lease still answers reads."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-lease-never-ends",
    engine="raft",
    rule="the lease is compared with the steady clock at the moment of use",
    source="Ongaro's thesis, section 6.4.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.reads:Reads._has_lease",
            "return self._now.steady_ms < self._lease_ends_ms()",
            "return bool(self._lease_ends_ms())",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut"),
    # Check-quorum late, so that a leader that was replaced goes on for a while.
    parameters={"lease_reads": 1, "election_ms_max": 3_000},
    load_tps=12.0,
)
