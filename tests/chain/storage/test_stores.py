"""What every store promises: one suite for all of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from chain.storage import SCHEMA_KEY, Changes, Store, prefix_end
from chain.storage.leveldb import open_leveldb
from chain.storage.memory import MemoryStore


class MemoryPlace:
    """Where a memory store lives between openings."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def open(self) -> Store:
        return self._store.reopen()

    def remove(self) -> None:
        """Nothing is left of it anyway."""


class DiskPlace:
    """A directory of its own."""

    def __init__(self) -> None:
        self._above = Path(tempfile.mkdtemp(prefix="moot-store-"))

    def open(self) -> Store:
        return open_leveldb(self._above / "db", create=True)

    def remove(self) -> None:
        shutil.rmtree(self._above)


PLACES = {"memory": MemoryPlace, "leveldb": DiskPlace}


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest) -> Iterator[MemoryPlace | DiskPlace]:
    made = PLACES[request.param]()
    yield made
    made.remove()


@pytest.fixture
def store(place: MemoryPlace | DiskPlace) -> Iterator[Store]:
    opened = place.open()
    yield opened
    opened.close()


def test_a_value_is_found_again_until_it_is_deleted(store: Store) -> None:
    assert store.get(b"k") is None
    store.write([(b"k", b"v")], sync=False)
    assert store.get(b"k") == b"v"
    store.write([(b"k", b"")], sync=True)
    assert store.get(b"k") == b""
    store.write([(b"k", None), (b"absent", None)], sync=False)
    assert store.get(b"k") is None


def test_of_one_key_named_twice_the_last_counts(store: Store) -> None:
    store.write([(b"a", b"1"), (b"a", None), (b"b", None), (b"b", b"2")], sync=False)
    assert list(store.scan(b"")) == [(b"b", b"2")]


def test_contents_survive_closing(place: MemoryPlace | DiskPlace) -> None:
    first = place.open()
    first.write([(b"k%d" % number, bytes(100)) for number in range(200)], sync=False)
    first.close()
    first.close()
    second = place.open()
    assert len(list(second.scan(b"k"))) == 200
    second.close()


ROWS: Changes = [
    (key, b"=" + key)
    for key in (b"", b"a", b"b", b"b\x00", b"b1", b"b2", b"b\xff", b"b\xff\xff", b"c", b"\xff\xff")
]


@pytest.mark.parametrize(
    ("prefix", "start", "expected"),
    [
        (b"b", b"", [b"b", b"b\x00", b"b1", b"b2", b"b\xff", b"b\xff\xff"]),
        (b"b", b"1", [b"b1", b"b2", b"b\xff", b"b\xff\xff"]),
        (b"b", b"10", [b"b2", b"b\xff", b"b\xff\xff"]),
        (b"b", b"\xff\xff\xff", []),
        (b"\xff", b"", [b"\xff\xff"]),
        (b"\xff\xff\xff", b"", []),
        (b"x", b"", []),
    ],
)
def test_a_scan_goes_up_from_its_start(
    store: Store, prefix: bytes, start: bytes, expected: list[bytes]
) -> None:
    store.write(ROWS, sync=False)
    found = list(store.scan(prefix, start=start))
    assert found == [(key, b"=" + key) for key in expected]


@pytest.mark.parametrize(
    ("prefix", "start", "expected"),
    [
        (b"b", b"", [b"b\xff\xff", b"b\xff", b"b2", b"b1", b"b\x00", b"b"]),
        (b"b", b"1", [b"b1", b"b\x00", b"b"]),
        (b"b", b"10", [b"b1", b"b\x00", b"b"]),
        (b"\xff", b"", [b"\xff\xff"]),
        (b"\xff", b"\xff\xff", [b"\xff\xff"]),
        (b"x", b"1", []),
    ],
)
def test_a_scan_in_reverse_goes_down_from_its_start(
    store: Store, prefix: bytes, start: bytes, expected: list[bytes]
) -> None:
    store.write(ROWS, sync=False)
    found = list(store.scan(prefix, start=start, reverse=True))
    assert found == [(key, b"=" + key) for key in expected]


def test_a_scan_sees_the_state_as_of_its_call(store: Store) -> None:
    store.write([(b"k%d" % number, b"old") for number in range(5)], sync=False)
    untouched = store.scan(b"k")
    begun = store.scan(b"k", reverse=True)
    assert next(begun) == (b"k4", b"old")
    store.write([(b"k0", b"new"), (b"k1", None), (b"k9", b"new")], sync=True)
    assert list(untouched) == [(b"k%d" % number, b"old") for number in range(5)]
    assert [key for key, _ in begun] == [b"k3", b"k2", b"k1", b"k0"]
    assert [key for key, _ in store.scan(b"k")] == [b"k0", b"k2", b"k3", b"k4", b"k9"]


def test_the_schema_key_is_out_of_reach(store: Store) -> None:
    with pytest.raises(AssertionError):
        store.write([(b"first", b"1"), (SCHEMA_KEY, b"2")], sync=True)
    assert list(store.scan(b"")) == []
    assert list(store.scan(b"\x00")) == []


def test_the_end_of_a_prefix() -> None:
    assert prefix_end(b"") is None
    assert prefix_end(b"\xff\xff") is None
    assert prefix_end(b"a\xff\xff") == b"b"
    assert prefix_end(b"ab") == b"ac"


key_bytes = st.binary(max_size=3).map(
    lambda data: bytes(byte % 3 * 127 + byte % 2 for byte in data)
)
change_lists = st.lists(st.tuples(key_bytes, st.none() | st.binary(max_size=4)), max_size=8)


class StoreAgainstDict(RuleBasedStateMachine):
    """A store does what a dict would, whatever order things come in, also over closing."""

    place_kind: ClassVar[type[MemoryPlace] | type[DiskPlace]]

    def __init__(self) -> None:
        super().__init__()
        self.place = self.place_kind()
        self.store = self.place.open()
        self.model: dict[bytes, bytes] = {}

    def teardown(self) -> None:
        self.store.close()
        self.place.remove()

    @rule(changes=change_lists, sync=st.booleans())
    def write(self, changes: list[tuple[bytes, bytes | None]], sync: bool) -> None:
        self.store.write(changes, sync)
        for key, value in changes:
            self.model.pop(key, None)
            if value is not None:
                self.model[key] = value

    @rule(key=key_bytes)
    def get(self, key: bytes) -> None:
        assert self.store.get(key) == self.model.get(key)

    @rule(prefix=key_bytes, start=key_bytes, reverse=st.booleans())
    def scan(self, prefix: bytes, start: bytes, reverse: bool) -> None:
        chosen = sorted(row for row in self.model.items() if row[0].startswith(prefix))
        if start and reverse:
            chosen = [row for row in chosen if row[0] <= prefix + start]
        elif start:
            chosen = [row for row in chosen if row[0] >= prefix + start]
        if reverse:
            chosen.reverse()
        assert list(self.store.scan(prefix, start=start, reverse=reverse)) == chosen

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.place.open()

    @invariant()
    def holds_the_model(self) -> None:
        assert list(self.store.scan(b"")) == sorted(self.model.items())


class MemoryAgainstDict(StoreAgainstDict):
    place_kind = MemoryPlace


class LevelDBAgainstDict(StoreAgainstDict):
    place_kind = DiskPlace


TestMemoryAgainstDict = MemoryAgainstDict.TestCase
TestMemoryAgainstDict.settings = settings(max_examples=60, deadline=None)
TestLevelDBAgainstDict = LevelDBAgainstDict.TestCase
TestLevelDBAgainstDict.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
