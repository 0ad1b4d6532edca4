"""What a losing branch had taken, and the winning one cannot take, is gone without a word."""

from moot.lab.mutants import NODE, Mutant, Rewrite

MUTANT = Mutant(
    name="displaces-in-silence",
    engine=NODE,
    rule="a transaction whose block lost is included again, waits, or is listed as displaced",
    source="docs/engines/gossip.md: what could not be included again is listed",
    rewrites=(
        Rewrite(
            "moot.node.displaced:DisplacedBook.head_moved",
            "self._list(self._returned.pop(txid), gone[txid], rivals, at_ms)",
            "self._returned.pop(txid)",
        ),
    ),
    under="gossip",
    faults=("partition", "delay"),
    minutes=0.5,
)
