"""Each answer of an acceptor is counted as a promise."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="counts-a-promise-twice",
    engine="paxos",
    rule="a majority of distinct acceptors has promised",
    source="Lamport, Paxos Made Simple, section 2.2, phase 2",
    under="paxos",
    rewrites=(
        Rewrite(
            "consensus.paxos.proposer:Proposer.hear",
            "self.promises[acceptor] = promise",
            "self.promises[acceptor + bytes([len(self.promises)])] = promise",
        ),
        Rewrite(
            "consensus.paxos.proposer:Proposer.has_majority",
            "members.decided_by(self.promises, majority)",
            "len(self.promises) >= majority(len(members))",
        ),
    ),
    nodes=5,
    faults=("duplication", "partition"),
    minutes=0.5,
)
