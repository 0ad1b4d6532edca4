"""A node whose record is lost votes as if it were new."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="wiped-and-voting",
    engine="paxos",
    under="paxos",
    rule="a lost disk listens until what it forgot cannot matter",
    source="Chandra et al., Paxos Made Live, section 5.1",
    rewrites=(
        Rewrite(
            "consensus.paxos.participant:Participant.__init__",
            "self._record_lost = record is None",
            "self._record_lost = False",
        ),
    ),
    faults=("wiped-disk", "partition", "selective-loss"),
    minutes=0.6,
    nodes=3,
)
