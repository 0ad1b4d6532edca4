"""The leader counts its lease from the receipt of the answer."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="lease-from-receipt",
    engine="multipaxos",
    under="multipaxos",
    rule="a leader counts from sending",
    source="Chandra et al., Paxos Made Live, section 5.2",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._on_grant",
            "self._lease.hear(sender, message.sent_ms)",
            "self._lease.hear(sender, self._now.steady_ms)",
        ),
    ),
    faults=("slow-node", "partition", "delay"),
    minutes=0.6,
    parameters={"lease_ms": 400, "election_ms": 20},
    nodes=3,
)
