"""Says that it accepted, and writes it down afterwards."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="accepts-before-writing",
    engine="paxos",
    under="paxos",
    rule="an acceptance is durable before it is said",
    source="Lamport, Paxos Made Simple, section 2.5",
    rewrites=(
        Rewrite(
            "consensus.paxos.participant:Participant._try_accept",
            "self._write(offer.block_id)\n        self._say_accepted(offer.ballot, offer.block_id)",
            "self._say_accepted(offer.ballot, offer.block_id)\n        self._write(offer.block_id)",
        ),
    ),
)
