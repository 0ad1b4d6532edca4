"""A leader that the new configuration leaves out counts itself in it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-leaver-counts-itself",
    engine="raft",
    rule="a leader that leaves counts in the old half of the joint configuration only",
    source="Ongaro's thesis, section 4.2.2; scylladb/scylladb#10618",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._decided",
            "return members.decided_by(supporters, majority)",
            (
                "short = self._me in supporters and self._me not in members\n"
                "    return members.decided_by(supporters, lambda n: majority(n) - short)"
            ),
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("membership", "partition", "delay"),
    load_tps=8.0,
)
