"""Accepts only what is above its promise."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="refuses-what-it-promised",
    engine="paxos",
    under="paxos",
    rule="an acceptor accepts n unless it promised more than n",
    source="Lamport, Paxos Made Simple, section 2.2 (P1a)",
    rewrites=(
        Rewrite(
            "consensus.paxos.acceptor:Acceptor.accept",
            "if ballot < self.promised:",
            "if ballot <= self.promised:",
        ),
    ),
)
