"""A server that was cut off raises its term again and again."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-stands-unasked",
    engine="raft",
    rule="who stands was told by a majority that it could win (pre-vote)",
    source="Ongaro's thesis, section 9.6; Cloudflare, 2020-11-02",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.elections:Elections._on_election_timer",
            "self._ask_first()",
            "self._stand()",
        ),
    ),
    nodes=3,
    minutes=0.5,
    faults=("partition", "one-way-cut"),
)
