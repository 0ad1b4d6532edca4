"""The bounded set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.rolling import RollingSet


def test_the_oldest_goes_first_and_adding_again_does_not_renew() -> None:
    recent: RollingSet[int] = RollingSet(3)
    assert [recent.add(n) for n in (1, 2, 3, 1)] == [True, True, True, False]
    assert recent.add(4)
    assert list(recent) == [2, 3, 4] and 1 not in recent
    assert recent.discard(3) and not recent.discard(3)
    assert len(recent) == 2


@given(st.lists(st.integers(0, 20)), st.integers(1, 10))
def test_it_never_holds_more_than_it_may(members: list[int], size_max: int) -> None:
    recent: RollingSet[int] = RollingSet(size_max)
    for member in members:
        recent.add(member)
        assert member in recent and len(recent) <= size_max
