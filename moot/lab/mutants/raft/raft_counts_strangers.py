"""Whoever answers counts: learners, former members, and a leader that is neither."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-counts-strangers",
    engine="raft",
    rule="votes and acknowledgements are of voters of the configuration",
    source="Ongaro and Ousterhout 2014, section 5.2; thesis, section 4.2.1; ktoso/akka-raft#49",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._decided",
            "return members.decided_by(supporters, majority)",
            "return len(supporters) >= majority(len(members.voters))",
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("membership", "partition"),
)
