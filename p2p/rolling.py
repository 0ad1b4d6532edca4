"""A set that forgets: the newest ``size_max`` members, in the order in which they came."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class RollingSet(Generic[K]):
    """Bounded memory of what was seen. Adding a member again does not renew it."""

    __slots__ = ("_members", "size_max")

    def __init__(self, size_max: int) -> None:
        assert size_max > 0
        self.size_max = size_max
        # A plain dict walks over all that was deleted before it to find its first member.
        self._members: OrderedDict[K, None] = OrderedDict()

    def add(self, member: K) -> bool:
        """Whether it was new; the oldest member goes where there is no room."""
        if member in self._members:
            return False
        if len(self._members) >= self.size_max:
            self._members.popitem(last=False)
        self._members[member] = None
        return True

    def discard(self, member: K) -> bool:
        """Whether it was there."""
        if member not in self._members:
            return False
        del self._members[member]
        return True

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[K]:
        return iter(self._members)

    def clear(self) -> None:
        self._members.clear()
