"""The mempool takes payments that their senders did not sign."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="unsigned-payments-wait",
    engine="node",
    rule="a signature is checked before a payment is taken in",
    source="Bitcoin Core, AcceptToMemoryPool",
    rewrites=(
        Rewrite(
            "chain.mempool.pool:Mempool.add_many",
            "if not good:",
            "if False:",
        ),
    ),
    liars=("double-spender",),
)
