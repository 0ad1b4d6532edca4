"""Each acceptance is counted, also one that comes twice, here and in certificates."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="counts-an-acceptor-twice",
    engine="paxos",
    rule="a majority of distinct acceptors has accepted",
    source="Lamport, Paxos Made Simple, section 2.3",
    under="paxos",
    rewrites=(
        Rewrite(
            "consensus.paxos.learner:Learner.hear",
            "known = self.accepted.get(message.acceptor)",
            "known = None",
        ),
        Rewrite(
            "consensus.paxos.learner:Learner.hear",
            "self.accepted[message.acceptor]",
            "self.accepted[message.acceptor + bytes([len(self.accepted)])]",
        ),
        Rewrite(
            "consensus.paxos.learner:Learner.chosen", "if one in members", "if one[:33] in members"
        ),
        Rewrite(
            "consensus.paxos.learner:Learner.chosen",
            "members.decided_by(voters, majority)",
            "len(voters) >= majority(len(members))",
        ),
        Rewrite("consensus.paxos.learner:Learner.chosen", "Signed(one, ", "Signed(one[:33], "),
        Rewrite(
            "consensus.paxos.messages:check_certificate",
            "if acceptors != sorted(set(acceptors)):",
            "if False:",
        ),
        Rewrite(
            "consensus.paxos.messages:check_certificate",
            "validators.decided_by(acceptors, majority)",
            "len(acceptors) >= majority(len(validators))",
        ),
    ),
    nodes=5,
    faults=("duplication", "loss"),
    minutes=0.5,
)
