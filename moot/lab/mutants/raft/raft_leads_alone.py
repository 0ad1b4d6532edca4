"""A leader that nobody answers goes on leading."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-leads-alone",
    engine="raft",
    rule="a leader without a majority's answers for an election timeout steps down (check-quorum)",
    source="Ongaro's thesis, section 6.2; Cloudflare, 2020-11-02",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_heartbeat_timer",
            "if not self._has_majority():",
            "if False:",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "one-way-cut"),
)
