"""A payment is executed as often as a block holds it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="nonces-unchecked",
    engine="node",
    rule="each nonce is used once, in order",
    source="CVE-2018-17144's class; Ethereum yellow paper, section 6",
    rewrites=(
        Rewrite(
            "chain.execution:BlockExecution.apply",
            "transaction.nonce != nonce",
            "transaction.nonce > nonce",
        ),
    ),
    liars=("double-spending-proposer",),
    faults=("kill",),
    minutes=0.6,
)
