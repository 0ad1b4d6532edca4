"""The record names a log that is not written with it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-writes-the-record-alone",
    engine="raft",
    rule="term, vote and log are one write",
    source="Ongaro and Ousterhout 2014, figure 2; hashicorp/raft#661",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._write",
            "(self._record.tip,) if self._record.height else ()",
            "()",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("power-failure", "kill-all"),
)
