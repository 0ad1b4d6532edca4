"""Replies to an earlier question count for a later one."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="old-replies-count",
    engine="pbft",
    rule="a reply counts only for the question that came after the read",
    source="Ongaro, thesis, section 6.4 (a new round of heartbeats for each read)",
    rewrites=(
        Rewrite(
            "consensus.pbft.reads:Reads._begin",
            "self._asked, self._members, self._replies = requests, members, {}",
            "self._asked, self._members = requests, members",
        ),
        Rewrite(
            "consensus.pbft.reads:Reads._close",
            "self._asked, self._replies, self._is_due = [], {}, False",
            "self._asked, self._is_due = [], False",
        ),
        Rewrite(
            "consensus.pbft.reads:Reads.replied",
            "self._asked and reply.number == self._number and",
            "",
        ),
    ),
    faults=("partition",),
    minutes=0.6,
    load_tps=6.0,
)
