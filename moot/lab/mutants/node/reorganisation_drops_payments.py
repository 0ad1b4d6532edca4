"""What a losing block held is forgotten."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reorganisation-drops-payments",
    engine="node",
    rule="transactions of a branch that was left wait again",
    source="Bitcoin Core, DisconnectedBlockTransactions",
    rewrites=(
        Rewrite(
            "chain.mempool.pool:Mempool.moved",
            "for block in removed:\n        for transaction",
            "for block in ():\n        for transaction",
        ),
    ),
    under="pow",
    delay_ms=(100, 600),
)
