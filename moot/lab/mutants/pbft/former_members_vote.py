"""Whoever was voted out goes on voting, and is counted."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="former-members-vote",
    engine="pbft",
    rule="certificates are of members of the height's own set",
    source="Castro and Liskov, OSDI'99, section 4.2",
    rewrites=(
        Rewrite(
            "consensus.pbft.replica:Replica._can_speak",
            "and self._me in self._members",
            "and len(self._members) > 0",
        ),
        Rewrite(
            "consensus.pbft.book:Book._signatures",
            "if sender in members and sender != without",
            "if sender != without",
        ),
        Rewrite(
            "consensus.pbft.inbox:Inbox._is_member",
            "if message.sender in self._members:",
            "if message.sender:",
        ),
        Rewrite(
            "moot.node.gate:Gate.unpack",
            "if members and (sender is None or sender not in members):",
            "if members and sender is None:",
        ),
    ),
    nodes=5,
    minutes=1.0,
    faults=("membership",),
)
