"""A node that is told of more blocks waits for them for ever."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="believes-boasters",
    engine="node",
    rule="a claim that is not shown in time is forgotten",
    source="CometBFT, CVE-2025-24371",
    rewrites=(
        Rewrite(
            "p2p.sync.sync:Sync._judge_syncing",
            "syncing = behind and now_ms - self._progress_ms < PROGRESS_TIMEOUT_MS",
            "syncing = behind",
        ),
        Rewrite(
            "p2p.sync.peers:SyncPeer.break_claim",
            "    self.broken_claims += 1\n",
            "    return False\n    self.broken_claims += 1\n",
        ),
        Rewrite(
            "p2p.sync.peers:SyncPeer.break_claim",
            "    self.height = min(self.height, shown)\n",
            "",
        ),
    ),
    liars=("boaster",),
)
