"""A joint configuration is left before anything was decided by it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-leaves-joint-early",
    engine="raft",
    rule="C_new follows once C_old,new is committed",
    source="Ongaro and Ousterhout 2014, section 6",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._wanted",
            "if left or self._is_decided_jointly(self._final):",
            "if True:",
        ),
    ),
    nodes=4,
    minutes=0.5,
    faults=("membership",),
)
