"""Answers of earlier terms count."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-old-answers-count",
    engine="raft",
    rule="a message of an older term is dropped",
    source="Ongaro and Ousterhout 2014, section 5.1",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._on_append_reply",
            'if self._role != "leader" or message.term < self._term:',
            'if self._role != "leader":',
        ),
    ),
    nodes=3,
    minutes=1.0,
    faults=("delay", "partition", "reordering", "one-way-cut", "loss"),
    load_tps=12.0,
)
