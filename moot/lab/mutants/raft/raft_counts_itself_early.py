"""A leader counts its own log before it is on disk."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-counts-itself-early",
    engine="raft",
    rule="the leader's own copy counts once it is durable",
    source="Ongaro's thesis, section 10.2.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._is_replicated",
            "if self._stored >= head.height:",
            "if True:",
        ),
        Rewrite(
            "consensus.raft.leader:Leader._append",
            "self._write()",
            "pass",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("crash-at-effect", "power-failure", "kill-all"),
    load_tps=8.0,
)
