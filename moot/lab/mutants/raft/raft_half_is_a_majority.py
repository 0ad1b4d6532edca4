"""Half of the servers elect a leader and commit."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-half-is-a-majority",
    engine="raft",
    rule="any two majorities share a server",
    source="Ongaro and Ousterhout 2014, section 5.2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._decided",
            "return members.decided_by(supporters, majority)",
            "return members.decided_by(supporters, lambda n: max(1, n // 2))",
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("partition", "one-way-cut"),
)
