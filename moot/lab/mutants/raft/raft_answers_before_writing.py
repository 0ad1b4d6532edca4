"""Votes and acknowledges first and writes afterwards."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-answers-before-writing",
    engine="raft",
    rule="what is answered is on disk",
    source="Ongaro and Ousterhout 2014, figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._say",
            "self._write()\n        self._emit(Send(to, message))",
            "self._emit(Send(to, message))\n        self._write()",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("crash-at-effect", "power-failure", "crash-at-write", "kill-all"),
)
