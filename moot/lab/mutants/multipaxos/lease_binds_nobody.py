"""Acceptors promise others while a lease holds."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="lease-binds-nobody",
    engine="multipaxos",
    under="multipaxos",
    rule="while a lease holds its acceptors promise nobody else",
    source="Chandra et al., Paxos Made Live, section 5.2",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.lease:GrantedLease.binds_against",
            "now_ms < self.until_ms and node != self.holder",
            "False",
        ),
    ),
    faults=("partition",),
    minutes=0.6,
    parameters={"lease_ms": 4000},
    nodes=3,
)
