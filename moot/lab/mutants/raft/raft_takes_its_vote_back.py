"""A vote whose answer was lost is not given again."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-takes-its-vote-back",
    engine="raft",
    rule="a voter grants again what it granted to the same candidate",
    source="Ongaro and Ousterhout 2014, figure 2, RequestVote 2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._on_request_vote",
            "self._record.voted_for in (None, sender)",
            "self._record.voted_for is None",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("duplication", "transfer", "one-way-cut"),
)
