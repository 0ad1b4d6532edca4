"""A ballot is used before it is on disk, and so perhaps twice."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="prepares-unwritten",
    engine="paxos",
    rule="no ballot is used twice: a proposer records the highest it used",
    source="Lamport, Paxos Made Simple, section 2.5",
    under="paxos",
    rewrites=(
        Rewrite("consensus.paxos.engine:PaxosEngine._begin_ballot", "    self._write()\n", ""),
    ),
)
