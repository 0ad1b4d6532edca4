"""A snapshot that is older than what is here takes its place."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="snapshot-goes-back",
    engine="node",
    rule="a snapshot that is not newer than what is here is discarded",
    source="Ongaro and Ousterhout 2014, section 7, figure 13, rules 6 and 7",
    under="raft",
    rewrites=(
        Rewrite("p2p.sync.snapshots:SnapshotSync._wanted", "if gap <= 0:", "if gap == 0:"),
        Rewrite(
            "p2p.sync.snapshots:SnapshotSync._is_overtaken",
            "return staged.height <= self._chain.height(self._chain.finalized())",
            "return False",
        ),
        Rewrite(
            "moot.node.snapshots:SnapshotKeeper.judge", "if snapshot.height <= final:", "if False:"
        ),
        Rewrite(
            "moot.node.snapshots:install_staged",
            "if snapshot.height <= base.height:",
            "if False:",
        ),
        Rewrite(
            "chain.ledger.staging:Staging.install",
            'assert base.height < snapshot.height, "a snapshot never goes back"',
            "pass",
        ),
    ),
    nodes=3,
    minutes=0.4,
    faults=("kill", "wiped-disk", "partition"),
    snapshots="6,2,4,3",
)
