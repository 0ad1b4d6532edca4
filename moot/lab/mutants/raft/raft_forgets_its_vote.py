"""A restarted server votes again in the same term."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-forgets-its-vote",
    engine="raft",
    rule="term, vote and log outlive a crash",
    source="Ongaro and Ousterhout 2014, figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.record:parse_record",
            "return codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)",
            (
                "old = codec.decode(raw, RaftRecord, RECORD_SIZE_MAX)\n"
                "        return RaftRecord(tip=old.tip, height=old.height)"
            ),
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("kill", "kill-all", "partition", "delay"),
)
