"""Headers-first sync from several peers, block relay, and serving others. Sans-I/O."""

from p2p.sync.chain import SyncChain
from p2p.sync.sync import Progress, Sync

__all__ = ["Progress", "Sync", "SyncChain"]
