"""What was refused is told as done; the state, and so its root, is right."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="receipts-say-done",
    engine="node",
    rule="a receipt says what became of its transaction",
    source="Ethereum, EIP-658 (a receipt's status)",
    rewrites=(
        Rewrite(
            "chain.execution:BlockExecution._apply_one",
            "Receipt(False, code, (ActionResult(False, code),), fee)",
            "Receipt(True, '', (DONE,), fee)",
        ),
    ),
    minutes=1.0,
)
