"""Compares rounds as text: 10 comes before 9."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="rounds-as-text",
    engine="paxos",
    under="paxos",
    rule="ballots are compared as (number, node)",
    source="Lamport, Paxos Made Simple, section 2.2",
    rewrites=(
        Rewrite(
            "consensus.paxos.acceptor:Acceptor.prepare",
            "if ballot < self.promised:",
            (
                "if (str(ballot.round), ballot.node) < "
                "(str(self.promised.round), self.promised.node):"
            ),
        ),
        Rewrite(
            "consensus.paxos.acceptor:Acceptor.accept",
            "if ballot < self.promised:",
            (
                "if (str(ballot.round), ballot.node) < "
                "(str(self.promised.round), self.promised.node):"
            ),
        ),
    ),
    parameters={"spread_ms": 1, "retry_ms": 20, "retry_ms_max": 20},
    delay_ms=(20, 40),
)
