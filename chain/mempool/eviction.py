"""Who goes when the mempool is full.

Only a lane's last entry may go, so that no gap opens. What cannot be executed goes first; then the
last of the lane whose cheapest transaction is the cheapest of all: a block reaches that one last,
whatever it pays itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush

from chain.address import Address
from chain.mempool.lanes import Entry, Lane

Standing = tuple[bool, int]
"""(executable, floor): the lower, the sooner it goes."""
_Item = tuple[bool, int, int, Entry]


class Tails:
    """A lazy heap of the lanes' last entries, kept only while the mempool is full.

    An item is dead when its entry is no longer its lane's last, or stands otherwise than when it
    was pushed; whoever changes a lane pushes its last again.
    """

    def __init__(self) -> None:
        self._heap: list[_Item] | None = None
        self._length_max = 0

    def changed(self, lane: Lane) -> None:
        """A lane's last entry may be another, or stand otherwise."""
        heap = self._heap
        if heap is not None and lane.entries:
            heappush(heap, _item(lane.entries[lane.top]))
            if len(heap) > self._length_max:
                self._heap = None  # most of it is dead; built anew when it is needed

    def forget(self) -> None:
        """The mempool has room again: keep nothing up to date."""
        self._heap = None

    def worst(self, lanes: Mapping[Address, Lane]) -> Standing | None:
        """The standing of what would go first; None in an empty mempool."""
        heap = self._alive(lanes)
        while heap:
            lane = lanes.get(heap[0][3].transaction.sender)
            if lane is not None and _is_alive(heap[0], lane):
                return heap[0][:2]
            heappop(heap)
        return None

    def victims(
        self,
        lanes: Mapping[Address, Lane],
        *,
        size: int,
        count: int,
        standing: Standing,
        sender: Address,
    ) -> list[Entry] | None:
        """The entries, worst first, whose going frees ``size`` bytes and ``count`` places.

        All of them stand below ``standing`` and are of other senders; None where that is not
        enough. Nothing is removed yet.
        """
        heap = self._alive(lanes)
        chosen: list[Entry] = []
        popped: list[_Item] = []
        ordered: dict[Address, list[Entry]] = {}
        enough = True
        while size > 0 or count > 0:
            if not heap or heap[0][:2] >= standing:
                enough = False
                break
            item = heappop(heap)
            entry = item[3]
            address = entry.transaction.sender
            if address not in ordered:
                lane = lanes.get(address)
                if lane is None or not _is_alive(item, lane):
                    continue
                popped.append(item)
                if address == sender:
                    continue
                ordered[address] = lane.ordered()
            elif not ordered[address] or ordered[address][-1] is not entry:
                continue  # the same tail, pushed twice
            chosen.append(ordered[address].pop())
            size -= entry.size
            count -= 1
            if ordered[address]:
                heappush(heap, _item(ordered[address][-1]))
        for item in popped:
            heappush(heap, item)
        return chosen if enough else None

    def _alive(self, lanes: Mapping[Address, Lane]) -> list[_Item]:
        """The heap, built anew where there is none."""
        heap = self._heap
        if heap is None or len(heap) > self._length_max:
            heap = self._heap = [_item(lane.entries[lane.top]) for lane in lanes.values()]
            heapify(heap)
            self._length_max = 4 * len(lanes) + 1_000
        return heap


def _item(entry: Entry) -> _Item:
    # Of equals the latest goes first; sequences differ, so entries are never compared.
    return entry.executable, entry.floor, -entry.sequence, entry


def _is_alive(item: _Item, lane: Lane) -> bool:
    executable, floor, _, entry = item
    return (
        lane.entries.get(lane.top) is entry
        and entry.executable == executable
        and entry.floor == floor
    )
