"""A vote of an earlier term is counted, and a pre-vote of any."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-counts-old-votes",
    engine="raft",
    rule="answers of another term are dropped",
    source="Ongaro and Ousterhout 2014, section 5.1 and figure 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._on_vote_reply",
            'self._role == "pre-candidate" and message.pre and message.term == self._term + 1',
            'self._role == "pre-candidate" and message.pre',
        ),
        Rewrite(
            "consensus.raft.elections:Elections._on_vote_reply",
            'self._role == "candidate" and not message.pre and message.term == self._term',
            'self._role == "candidate" and not message.pre',
        ),
    ),
    nodes=5,
    minutes=0.5,
    faults=("delay", "partition", "reordering"),
    delay_ms=(50, 250),
)
