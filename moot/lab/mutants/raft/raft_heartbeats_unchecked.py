"""A heartbeat is answered without a look at the log."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-heartbeats-unchecked",
    engine="raft",
    rule="the consistency check is made for heartbeats too",
    source="Ongaro and Ousterhout 2014, section 5.3",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.follower:Follower._take_entries",
            "AppendReply(self._term, False, 0, message.round, found)",
            (
                "AppendReply(self._term, not message.blocks, message.last.height, "
                "message.round, found)"
            ),
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("kill", "partition", "loss"),
)
