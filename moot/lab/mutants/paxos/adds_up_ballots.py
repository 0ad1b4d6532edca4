"""Adds up acceptances of one block under different ballots."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="adds-up-ballots",
    engine="paxos",
    under="paxos",
    rule="a majority of distinct acceptors for one ballot",
    source="Lamport, Paxos Made Simple, section 2.3",
    rewrites=(
        Rewrite(
            "consensus.paxos.learner:Learner.voters",
            "said.ballot == ballot and ",
            "",
        ),
    ),
    faults=("selective-loss", "delay", "kill"),
    minutes=0.6,
    nodes=5,
)
