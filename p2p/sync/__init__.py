"""Headers-first sync from several peers, block relay, and serving others. Sans-I/O."""

from p2p.sync.chain import SyncChain

__all__ = ["SyncChain"]
