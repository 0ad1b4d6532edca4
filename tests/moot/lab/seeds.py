"""Seeds that once found a fault in the code, kept for good."""

from __future__ import annotations

FOUND = (
    # A replica whose disk was lost, started before its first link, took its own empty chain for
    # the newest and voted again where it had voted before.
    ("pbft", 4, 2),
    ("pbft", 4, 3),
    ("pbft", 4, 107),
    ("pbft", 4, 119),
    # A restarted node wrote again which block was final, but not its proof; the next crash lost
    # the proof's first writing only, and the others, who had the block, could never be told.
    ("pbft", 4, 528),
    # After a power failure the head was the flushed block, and the state of the confirmed block
    # below it was not in memory: whoever reads there must be refused.
    ("authority", 5, 514),
    ("gossip", 6, 507),
    # After a snapshot, stored blocks were replayed past the heads that are kept: the way from
    # block 31 down to genesis led over 25's skip link, which names block 1.
    ("pbft", 7, 511),
    ("raft", 6, 507),
    ("multipaxos", 6, 507),
    # A restarted signer that had pruned found no way up from an old ancestor to the heavier branch
    # that it had on disk: it signed beside it, and one of two signers cannot go on alone.
    ("authority", 3, 532),
    # Every node had pruned two payments before their client was told: it asked for them by id for
    # ever, though the sender's final nonce was past theirs.
    ("raft", 3, 25),
    # A power loss took the proof of the block below the final one and kept the pointer, which had
    # been written later: nobody could be shown any more that the lower block was final.
    ("raft", 3, 130),
    # A member that a joint configuration had brought in led, committed entries that the old members
    # alone decide, and could sign for none of them.
    ("raft", 3, 150),
    # The checker took the late word of a leader of an old term for one that was heard, since the
    # voter had not written yet that it knew of a later term.
    ("raft", 6, 198),
    # No fault of the engine's: a paused voter heard its leader, voted for the one that this leader
    # had handed over to, and, in the same go, for somebody in the term after. The checker still
    # held the first for its leader.
    ("raft", 7, 59),
    # A leader that lost its disk was asked for a read as if it led still, and would have refused
    # only after writing a record that it did not have.
    ("raft", 5, 106),
    # No fault of the engine's: with one signer voted out two that prune were a majority, and those
    # that keep all blocks were cut off. When the links were whole again nobody could follow.
    ("authority", 4, 686),
    # No fault of the node's: it died right after the write that put a snapshot in its place. The
    # laboratory never heard of that, and the checker took the bodies below for forgotten ones.
    ("raft", 3, 755),
    # While a snapshot was written another branch won, and the chunks of one block's state were kept
    # under the description of the block that had taken its place.
    ("gossip", 7, 374),
    ("gossip", 7, 429),
    # The block that left its maker out was in that server's log alone: the others lacked its vote,
    # and it stood no more. With one disk lost nobody could be elected.
    ("raft", 4, 3306),
    ("raft", 4, 3651),
)
"""(engine, nodes, seed); the faults are what the seed draws, and that changes with every change of
a drawing: tests/scenarios keeps the cases themselves."""
