"""A candidate that is refused puts the election off."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-puts-off-for-anybody",
    engine="raft",
    rule="the election timeout begins anew for a leader heard, a vote given and an own try",
    source="Ongaro and Ousterhout 2014, section 5.2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._on_request_vote",
            "granted = (",
            "self._put_off()\n    granted = (",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "one-way-cut", "kill"),
)
