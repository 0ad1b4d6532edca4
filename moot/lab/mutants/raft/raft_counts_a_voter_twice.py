"""Each answer of a voter is counted as a vote."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-counts-a-voter-twice",
    engine="raft",
    rule="votes are of distinct voters of the configuration",
    source="Ongaro and Ousterhout 2014, section 5.2",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.server:Server._decided",
            "return members.decided_by(supporters, majority)",
            "return len(supporters) >= majority(len(members.voters))",
        ),
        Rewrite(
            "consensus.raft.elections:Elections._on_vote_reply",
            "self._votes.add(sender)",
            "self._votes.add(sender + bytes([len(self._votes)]))",
        ),
    ),
    nodes=5,
    minutes=0.5,
    faults=("duplication", "partition", "one-way-cut"),
)
