"""A node says that it keeps bodies which it has pruned."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="pruned-still-claimed",
    engine="node",
    rule="what is not kept is not claimed",
    source="Bitcoin Core, NODE_NETWORK_LIMITED (BIP 159)",
    rewrites=(
        Rewrite(
            "moot.node.snapshots:SnapshotKeeper.holdings",
            "self._ledger.bodies_from",
            "0",
        ),
    ),
    minutes=0.6,
    faults=("kill", "wiped-disk", "partition"),
    snapshots="4,2,5,6",
)
