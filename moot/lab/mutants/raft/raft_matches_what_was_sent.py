"""An answer is taken to match all that was sent."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-matches-what-was-sent",
    engine="raft",
    rule="matchIndex = prevLogIndex + entries of that request",
    source="Ongaro and Ousterhout 2014, figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_append_reply",
            "progress.accepted(message.height)",
            "progress.accepted(progress.next.height)",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("loss", "delay", "kill", "partition"),
    load_tps=12.0,
)
