"""Joined writes keep the oldest record instead of the newest."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="group-commit-keeps-the-first",
    engine="node",
    rule="the last record of a group is the one that is written",
    source="etcd 3.5 (2022), data written apart from its index; raft thesis 10.2.1",
    rewrites=(
        Rewrite(
            "moot.node.driver:Driver._joined",
            "record = effect.record",
            "record = first.record",
        ),
    ),
    faults=("delay",),
)
