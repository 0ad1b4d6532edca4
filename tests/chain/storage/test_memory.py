"""What the memory store loses when a simulator cuts the power."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.storage.memory import AT_RISK_MAX, MemoryStore


def contents(store: MemoryStore) -> dict[bytes, bytes]:
    return dict(store.scan(b""))


def test_a_power_loss_takes_what_came_after_the_last_sync() -> None:
    store = MemoryStore()
    store.write([(b"a", b"1")], sync=False)
    store.write([(b"b", b"1")], sync=True)
    store.write([(b"a", b"2")], sync=False)
    store.write([(b"b", None)], sync=False)
    assert store.unsynced == 2
    store.lose_unsynced()
    assert contents(store) == {b"a": b"1", b"b": b"1"}
    assert store.unsynced == 0
    store.lose_unsynced()
    assert contents(store) == {b"a": b"1", b"b": b"1"}


def test_a_rotated_log_may_take_an_unsynced_write_that_a_synced_one_followed() -> None:
    outcomes = set()
    for seed in range(40):
        store = MemoryStore()
        store.write([(b"early", b"1")], sync=False)
        store.write([(b"synced", b"1")], sync=True)
        store.write([(b"late", b"1")], sync=False)
        store.lose_unsynced(random.Random(seed), rotated=True)
        outcomes.add(tuple(sorted(contents(store))))
    assert outcomes == {
        (b"synced",),
        (b"early", b"synced"),
        (b"late", b"synced"),
        (b"early", b"late", b"synced"),
    }


def test_a_batch_is_lost_or_kept_as_a_whole() -> None:
    for seed in range(20):
        store = MemoryStore()
        for number in range(6):
            store.write([(b"%d-%d" % (number, part), b"v") for part in range(3)], sync=False)
        store.lose_unsynced(random.Random(seed), rotated=True)
        for number in range(6):
            assert len(list(store.scan(b"%d-" % number))) in (0, 3)


def test_the_same_seed_loses_the_same_writes() -> None:
    def run(seed: int) -> dict[bytes, bytes]:
        store = MemoryStore()
        for number in range(30):
            store.write([(b"%d" % number, b"v")], sync=number % 7 == 0)
        store.lose_unsynced(random.Random(seed), rotated=True)
        return contents(store)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_an_old_unsynced_write_is_safe_once_enough_came_after_it() -> None:
    for seed in range(20):
        store = MemoryStore()
        store.write([(b"old", b"1")], sync=False)
        for number in range(AT_RISK_MAX + 1):
            store.write([(b"k", b"%d" % number)], sync=True)
        store.lose_unsynced(random.Random(seed), rotated=True)
        assert store.get(b"old") == b"1"


def test_what_no_sync_followed_is_lost_however_much_it_is() -> None:
    store = MemoryStore()
    for number in range(3 * AT_RISK_MAX):
        store.write([(b"%d" % number, b"v")], sync=False)
    assert store.unsynced == 3 * AT_RISK_MAX
    store.lose_unsynced()
    assert contents(store) == {}


def test_a_scan_under_way_outlives_a_power_loss() -> None:
    store = MemoryStore()
    store.write([(b"a", b"1"), (b"b", b"1")], sync=False)
    scan = store.scan(b"")
    store.lose_unsynced()
    assert list(scan) == [(b"a", b"1"), (b"b", b"1")]


def test_a_closed_store_is_of_no_use_until_it_is_opened_again() -> None:
    store = MemoryStore()
    store.write([(b"a", b"1")], sync=False)
    store.close()
    for use in (
        lambda: store.get(b"a"),
        lambda: store.write([(b"a", b"2")], sync=True),
        lambda: store.scan(b""),
    ):
        with pytest.raises(AssertionError):
            use()
    assert contents(store.reopen()) == {b"a": b"1"}


def test_what_a_process_found_when_it_opened_the_store_is_safe() -> None:
    """LevelDB writes its logs into a synced table when it opens: what was read then stays."""
    store = MemoryStore()
    store.write([(b"a", b"1")], sync=False)
    store.reopen()
    store.write([(b"b", b"2")], sync=False)
    store.lose_unsynced()
    assert contents(store) == {b"a": b"1"}


@given(
    st.lists(
        st.tuples(st.dictionaries(st.binary(max_size=1), st.binary(max_size=1)), st.booleans()),
        max_size=12,
    )
)
def test_what_is_left_is_what_was_there_at_the_last_sync(
    writes: list[tuple[dict[bytes, bytes], bool]],
) -> None:
    store, model, synced = MemoryStore(), dict[bytes, bytes](), dict[bytes, bytes]()
    for values, sync in writes:
        store.write(list(values.items()), sync)
        model.update(values)
        if sync:
            synced = dict(model)
    store.lose_unsynced()
    assert contents(store) == synced
