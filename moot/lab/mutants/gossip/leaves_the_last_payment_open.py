"""No block follows the last payment, so nothing ever confirms it."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="leaves-the-last-payment-open",
    engine="gossip",
    rule="empty blocks follow until the last payment is confirmed",
    source="HotStuff chained mode: the pipeline drains when idle",
    rewrites=(
        Rewrite(
            "consensus.gossip.engine:GossipEngine._unsettled",
            "if block.branch:",
            "if False:",
        ),
    ),
    under="gossip",
)
