"""The manifest reader against manifests that LevelDB wrote, and against broken ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.storage.leveldb import open_leveldb, plyvel
from chain.storage.manifest import BLOCK_SIZE, Files, files_of


def manifest_of(path: Path) -> bytes:
    return (path / (path / "CURRENT").read_text().strip()).read_bytes()


def tables_in(path: Path) -> dict[int, int]:
    return {int(file.stem): file.stat().st_size for file in path.glob("*.ldb")}


def test_it_names_what_lies_in_the_directory(tmp_path: Path) -> None:
    """Small tables and buffers: many tables, moves between levels, compactions."""
    database = plyvel.DB(
        str(tmp_path / "db"), create_if_missing=True, write_buffer_size=65536, max_file_size=65536
    )
    rng = random.Random(3)
    for _ in range(6_000):
        database.put(b"%05d" % rng.randrange(4_000), rng.randbytes(120))
    for number in range(0, 4_000, 3):
        database.delete(b"%05d" % number)
    database.compact_range()
    assert len(manifest_of(tmp_path / "db")) > 500, "too few edits to say much"
    database.close()
    files = files_of(manifest_of(tmp_path / "db"))
    assert files is not None
    assert (tmp_path / "db" / f"{files.log:06}.log").exists()
    assert files.tables == tables_in(tmp_path / "db")
    assert len(files.tables) > 3


def test_a_manifest_of_several_blocks(tmp_path: Path) -> None:
    """Records that a block's end cuts into fragments, and ends too short for a header."""
    database = plyvel.DB(str(tmp_path / "db"), create_if_missing=True)
    keys = [bytes([65 + number]) * (4_000 + 37 * number) for number in range(24)]
    for key in keys:
        database.put(key, b"v")
        database.compact_range(start=key, stop=key)
    raw = manifest_of(tmp_path / "db")
    database.close()
    assert len(raw) > 3 * BLOCK_SIZE
    files = files_of(raw)
    assert files is not None
    assert files.tables == tables_in(tmp_path / "db")


@pytest.mark.parametrize("end", ["closed", "alive"])
def test_it_agrees_with_every_opening(tmp_path: Path, end: str) -> None:
    """What the reader would call missing must never be missing from a sound database."""
    path = tmp_path / "db"
    for generation in range(8):
        store = open_leveldb(path, create=True)
        store.write([(b"%d-%d" % (generation, n), bytes(50)) for n in range(50)], sync=True)
        if end == "closed":
            store.close()
        files = files_of(manifest_of(path))
        assert files is not None
        assert (path / f"{files.log:06}.log").exists()
        assert files.tables.items() <= tables_in(path).items()
        store.close()


def record(body: bytes, kind: int = 1) -> bytes:
    return bytes(4) + len(body).to_bytes(2, "little") + bytes([kind]) + body


def test_a_torn_tail_counts_as_absent() -> None:
    whole = record(b"\x02\x05") + record(b"\x07\x00\x08\x64\x01a\x01b")
    assert files_of(whole) == Files(5, {8: 100})
    assert files_of(whole[:-1]) == Files(5, {})
    assert files_of(whole[:12]) == Files(5, {})


def test_a_table_that_moves_between_levels_stays() -> None:
    born = record(b"\x02\x05") + record(b"\x07\x00\x08\x64\x01a\x01b")
    moved = record(b"\x06\x00\x08" + b"\x07\x01\x08\x64\x01a\x01b")
    assert files_of(born + moved) == Files(5, {8: 100})
    assert files_of(born + moved + record(b"\x06\x00\x08")) == Files(5, {8: 100})
    assert files_of(born + moved + record(b"\x06\x01\x08")) == Files(5, {})


def test_what_it_does_not_know_it_leaves_to_leveldb() -> None:
    assert files_of(record(b"\x08\x01")) is None
    assert files_of(record(b"\x02\xff")) is None
    assert files_of(b"") == Files(0, {})


@given(st.binary(max_size=200))
def test_garbage_never_breaks_it(data: bytes) -> None:
    for raw in (data, record(data), record(data[:20], kind=data[0] if data else 0)):
        found = files_of(raw)
        assert found is None or all(size >= 0 for size in found.tables.values())
