"""The one message of ``gossip``: a digest of the block tree, for anti-entropy.

Demers et al., "Epidemic algorithms for replicated database maintenance" (PODC 1987), section 1.3.
A block's id commits to all blocks below it, so (height, id) is the digest of a whole range of
heights: equal points mean equal ranges, and the first point that the receiver does not know tells
within which range the chains part. Merkle trees do for key ranges what the hash chain does here.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from chain.codec import Hash, Record, Uint
from consensus.contract import Message

TIPS_MAX: Final = 16
"""Tips of branches in one digest: more than partitions leave behind at a time."""
RANGES_MAX: Final = 48
"""Ranges in one digest: their lengths double, so they reach down 2**47 blocks."""


class Point(Record, frozen=True):
    """A block, and by its id everything below it."""

    height: Uint
    block_id: Hash


class Digest(Message, frozen=True, tag=1):
    """What the sender holds. ``tips``: the ends of its branches, its head first. ``ranges``: points
    of the head's branch at distances 1, 2, 4, 8... below it, then genesis. ``answer``: whether the
    receiver shall send its own in return (push-pull)."""

    tips: Annotated[tuple[Point, ...], msgspec.Meta(min_length=1, max_length=TIPS_MAX)]
    ranges: Annotated[tuple[Point, ...], msgspec.Meta(max_length=RANGES_MAX)]
    answer: bool

    @property
    def head(self) -> Point:
        return self.tips[0]

    @property
    def fault(self) -> str:
        """Why no honest node sends this; "": nothing is wrong with it."""
        heights = [point.height for point in self.ranges]
        if len({tip.block_id for tip in self.tips}) != len(self.tips):
            return "a tip stands in the digest twice"
        if any(tip.height > self.head.height for tip in self.tips):
            return "a tip lies above the head"
        if any(
            low >= high for high, low in zip([self.head.height, *heights], heights, strict=False)
        ):
            return "its ranges do not lead down from the head"
        return ""
