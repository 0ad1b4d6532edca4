"""A served finality proof is taken at its word."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="proofs-unchecked",
    engine="node",
    rule="a proof is verified, whoever brings it",
    source="CometBFT, GHSA-f3w5-v9xx-rp8p (forged light-client headers)",
    rewrites=(
        Rewrite(
            "moot.node.consensus_inbox:ConsensusInbox.proof",
            "self._gate.check_proof(rules, head, proof, self._ledger.validators(head.previous))",
            "pass",
        ),
    ),
    liars=("proof-forger",),
    faults=("kill", "partition"),
)
