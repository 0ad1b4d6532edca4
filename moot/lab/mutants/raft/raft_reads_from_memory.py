"""A leader answers reads without asking whether it still leads."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-reads-from-memory",
    engine="raft",
    rule="a majority answers a round that began after the read came",
    source="Ongaro's thesis, section 6.4",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.reads:Reads._try_read",
            "if self._has_lease():",
            "if True:",
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("partition", "one-way-cut"),
    # Check-quorum late, so that a leader that was replaced goes on for a while.
    parameters={"election_ms_max": 3_000},
    load_tps=12.0,
)
