"""A store laid over another behaves as one store, and leaves the lower one as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chain.storage.memory import MemoryStore
from chain.storage.overlay import OverlayStore

KEYS = st.binary(min_size=1, max_size=2)
CHANGES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=2)), max_size=12)


def test_what_is_written_hides_what_is_below_and_deletions_do_too() -> None:
    below = MemoryStore()
    below.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"")], sync=True)
    over = OverlayStore(below)
    over.write([(b"a", None), (b"b", b"new"), (b"d", b"4")], sync=False)
    assert [over.get(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [
        *(None, b"new", b"", b"4", None)
    ]
    rows = [(b"b", b"new"), (b"c", b""), (b"d", b"4")]
    assert list(over.scan(b"")) == rows
    assert list(over.scan(b"", reverse=True)) == rows[::-1]
    assert list(below.scan(b"")) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"")]
    over.close()
    assert below.get(b"a") == b"1", "closing the overlay leaves the lower store open"


@given(CHANGES, CHANGES, st.binary(max_size=1), st.binary(max_size=1), st.booleans())
def test_it_scans_as_one_store_with_all_changes_would(
    first: list[tuple[bytes, bytes | None]],
    second: list[tuple[bytes, bytes | None]],
    prefix: bytes,
    start: bytes,
    reverse: bool,
) -> None:
    below, single = MemoryStore(), MemoryStore()
    below.write(first, sync=True)
    over = OverlayStore(below)
    over.write(second, sync=False)
    single.write(first, sync=True)
    single.write(second, sync=True)
    expected = list(single.scan(prefix, start=start, reverse=reverse))
    scan = over.scan(prefix, start=start, reverse=reverse)
    over.write([(key, None) for key, _ in expected], sync=False)
    assert list(scan) == expected, "a scan sees the state as of its call"
