"""Votes for anybody at any time, also while a leader is heard."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-disturbs-leaders",
    engine="raft",
    rule="nobody gets a vote within the least timeout of hearing a leader",
    source="Ongaro's thesis, section 4.2.3",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._on_request_vote",
            "if not message.transfer and self._is_sticky(sender):",
            "if False:",
        ),
        Rewrite(
            "consensus.raft.elections:Elections._answer_pre_vote",
            "granted = message.term > self._term and self._is_up_to_date(message)",
            "granted = self._is_up_to_date(message)",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partial-partition", "one-way-cut", "delay"),
)
