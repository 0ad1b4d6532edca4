"""Entries of earlier terms are committed by counting."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-counts-earlier-terms",
    engine="raft",
    rule="only entries of the own term are committed by counting",
    source="Ongaro and Ousterhout 2014, section 5.4.2, figure 8",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.leader:Leader._try_commit",
            "while head.height > floor and term_of(head) == self._term:",
            "while head.height > floor:",
        ),
    ),
    nodes=5,
    minutes=1.0,
    faults=("partition", "one-way-cut", "kill", "loss", "selective-loss"),
    load_tps=12.0,
)
