"""A transaction that comes back is announced again to those who know it."""

from moot.lab.mutants import NODE, Mutant, Rewrite

MUTANT = Mutant(
    name="relays-what-is-known",
    engine=NODE,
    rule="an announcement crosses each link once: who is known to have it is not told again",
    source="Bitcoin Core, net_processing: m_tx_inventory_known_filter",
    under="pow",
    rewrites=(
        Rewrite(
            "p2p.gossip:TransactionGossip._enqueue",
            "if not peer.known.add(identifier):\n        return\n",
            "peer.known.add(identifier)\n",
        ),
    ),
    faults=("partition",),
)
