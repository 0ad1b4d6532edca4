"""A node writes only while it hears most of the others."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="asks-before-it-writes",
    engine="gossip",
    rule="every side of a partition stays writable",
    source="Gilbert and Lynch 2002: availability",
    rewrites=(
        Rewrite(
            "consensus.gossip.engine:GossipEngine._wants_block",
            "self._writes and not self._syncing",
            "self._writes and not self._syncing and len(self._peers) > 1",
        ),
    ),
    under="gossip",
    nodes=2,
)
