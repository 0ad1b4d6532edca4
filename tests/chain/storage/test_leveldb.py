"""LevelDB, damaged in every way that disks and people find: a clear error, or a sound database."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chain import codec
from chain.errors import DamagedStore, ForeignStore, StoreFailure, StoreLocked
from chain.storage import SCHEMA_KEY
from chain.storage.leveldb import open_leveldb, plyvel
from tests.chain.storage.writer import BATCH, rows_of

BATCHES = 40
WRITER = [sys.executable, "-m", "tests.chain.storage.writer"]


def fill(path: Path, batches: range) -> None:
    store = open_leveldb(path, create=True)
    for batch in batches:
        store.write(rows_of(batch), sync=True)
    store.close()


@pytest.fixture
def in_log(tmp_path: Path) -> Path:
    """A database whose contents all lie in its log."""
    path = tmp_path / "db"
    open_leveldb(path, create=True).close()
    fill(path, range(BATCHES))
    return path


@pytest.fixture
def in_table(in_log: Path) -> Path:
    """A database whose contents all lie in a table: opening moves them there."""
    open_leveldb(in_log, create=False).close()
    open_leveldb(in_log, create=False).close()
    return in_log


def largest(path: Path, suffix: str) -> Path:
    return max(path.glob(f"*{suffix}"), key=lambda file: file.stat().st_size)


def manifest_of(path: Path) -> Path:
    return path / (path / "CURRENT").read_text().strip()


def whole_batches(path: Path) -> int:
    """How many batches a database holds; asserts that they are the first ones, and whole."""
    store = open_leveldb(path, create=False)
    try:
        found = list(store.scan(b""))
        count, rest = divmod(len(found), BATCH)
        assert rest == 0, "a batch was applied in half"
        assert found == [row for batch in range(count) for row in rows_of(batch)]
        assert all(store.get(key) == value for key, value in found)
    finally:
        store.close()
    return count


def test_the_mark_is_written_with_the_database(tmp_path: Path) -> None:
    open_leveldb(tmp_path / "a" / "db", create=True).close()
    database = plyvel.DB(str(tmp_path / "a" / "db"))
    assert database.get(SCHEMA_KEY) == bytes.fromhex("92a46d6f6f7402")
    database.close()


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(DamagedStore, match=r"there is no database at .*initialise"):
        open_leveldb(tmp_path / "db", create=False)
    assert not (tmp_path / "db").exists(), "looking must not make one"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("notes")
    for create in (False, True):
        with pytest.raises(ForeignStore, match="lies below, a file"):
            open_leveldb(tmp_path / "db", create=create)
    assert (tmp_path / "db").read_text() == "notes"


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ForeignStore, match=r"notes\.txt.*another directory"):
        open_leveldb(tmp_path, create=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("notes")
    with pytest.raises(ForeignStore, match="lies below, a file"):
        open_leveldb(tmp_path / "file" / "db", create=True)
    assert (tmp_path / "file").read_text() == "notes"


def test_a_disk_that_refuses_is_not_called_damage(in_table: Path) -> None:
    """Nothing is to be restored or deleted where a file cannot be opened for now."""
    (in_table / "LOCK").unlink()
    (in_table / "LOCK").mkdir()
    with pytest.raises(StoreFailure, match=r"the disk refuses .*Is a directory"):
        open_leveldb(in_table, create=False)
    (in_table / "LOCK").rmdir()
    assert whole_batches(in_table) == BATCHES


def test_a_disk_too_full_to_begin(tmp_path: Path) -> None:
    run = subprocess.run(
        [*WRITER, "none", str(tmp_path / "db")], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("unopened: the disk refuses the database at")
    assert "--record-lost" not in run.stdout
    open_leveldb(tmp_path / "db", create=True).close()


def test_another_programs_leveldb(tmp_path: Path) -> None:
    database = plyvel.DB(str(tmp_path / "db"), create_if_missing=True)
    database.put(b"theirs", b"1", sync=True)
    database.close()
    for create in (False, True):
        with pytest.raises(ForeignStore, match="not made by Moot"):
            open_leveldb(tmp_path / "db", create=create)
    database = plyvel.DB(str(tmp_path / "db"))
    assert list(database) == [(b"theirs", b"1")]
    database.close()


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        (codec.encode(("moot", 3)), "schema 3, this Moot knows up to 2: upgrade"),
        (codec.encode(("moot", 1)), "schema 1, of a Moot older than this one, whose schema is 2"),
        (codec.encode(("other", 1)), "made by 'other'"),
        (b"?", "a mark that is not Moot's"),
    ],
)
def test_another_mark(in_log: Path, mark: bytes, sentence: str) -> None:
    database = plyvel.DB(str(in_log))
    database.put(SCHEMA_KEY, mark, sync=True)
    database.close()
    for create in (False, True):
        with pytest.raises(ForeignStore, match=re.escape(sentence)):
            open_leveldb(in_log, create=create)


def open_in_another_process(path: Path) -> str:
    script = (
        "import sys; from pathlib import Path; from chain.errors import StoreLocked\n"
        "from chain.storage.leveldb import open_leveldb\n"
        "try: open_leveldb(Path(sys.argv[1]), create=False)\n"
        "except StoreLocked as error: print('locked:', error)\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return other.stdout


def test_open_in_this_process_and_in_another(in_log: Path) -> None:
    """Refusing the second opening must not give up the lock of the first (POSIX fcntl)."""
    store = open_leveldb(in_log, create=False)
    with pytest.raises(StoreLocked, match="open already"):
        open_leveldb(in_log, create=True)
    (in_log.parent / "link").symlink_to(in_log)
    with pytest.raises(StoreLocked, match="open already"):
        open_leveldb(in_log.parent / "link", create=True)
    assert open_in_another_process(in_log).startswith("locked: the database at")
    store.write([(b"still", b"ours")], sync=True)
    store.close()
    assert open_in_another_process(in_log) == ""
    open_leveldb(in_log, create=False).close()


def test_a_live_database_whose_files_move_is_locked_not_damaged(in_log: Path) -> None:
    store = open_leveldb(in_log, create=False)
    for log in in_log.glob("*.log"):
        log.rename(log.with_suffix(".away"))
    assert open_in_another_process(in_log).startswith("locked: the database at")
    store.close()


def test_a_path_with_lock_in_its_name_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "LOCKs of blocks"
    fill(path, range(2))
    manifest_of(path).unlink()
    with pytest.raises(DamagedStore):
        open_leveldb(path, create=False)


def test_a_creation_cut_short_is_finished(tmp_path: Path) -> None:
    """LevelDB was made, the power went, the mark was never written."""
    plyvel.DB(str(tmp_path / "db"), create_if_missing=True).close()
    with pytest.raises(DamagedStore, match="no mark of Moot"):
        open_leveldb(tmp_path / "db", create=False)
    open_leveldb(tmp_path / "db", create=True).close()
    open_leveldb(tmp_path / "db", create=False).close()


def test_a_creation_cut_shorter_is_begun_again(tmp_path: Path) -> None:
    for name in ("LOCK", "LOG", "MANIFEST-000001", "000001.dbtmp"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DamagedStore, match="there is no database"):
        open_leveldb(tmp_path, create=False)
    open_leveldb(tmp_path, create=True).close()
    open_leveldb(tmp_path, create=False).close()


def lose_current(path: Path) -> None:
    (path / "CURRENT").unlink()


def empty_current(path: Path) -> None:
    (path / "CURRENT").write_bytes(b"")


def current_without_newline(path: Path) -> None:
    (path / "CURRENT").write_text((path / "CURRENT").read_text().rstrip("\n"))


def current_of_garbage(path: Path) -> None:
    (path / "CURRENT").write_bytes(b"\xff\x00/../..\n")


def lose_manifest(path: Path) -> None:
    manifest_of(path).unlink()


def empty_manifest(path: Path) -> None:
    manifest_of(path).write_bytes(b"")


def lose_log(path: Path) -> None:
    for log in path.glob("*.log"):
        log.unlink()


def lose_table(path: Path) -> None:
    largest(path, ".ldb").unlink()


def empty_table(path: Path) -> None:
    largest(path, ".ldb").write_bytes(b"")


def cut_table(path: Path) -> None:
    table = largest(path, ".ldb")
    table.write_bytes(table.read_bytes()[: table.stat().st_size // 2])


def grow_table(path: Path) -> None:
    table = largest(path, ".ldb")
    table.write_bytes(table.read_bytes() + bytes(10))


@pytest.mark.parametrize(
    "damage",
    [
        lose_current,
        empty_current,
        current_without_newline,
        current_of_garbage,
        lose_manifest,
        empty_manifest,
        lose_log,
        lose_table,
        empty_table,
        cut_table,
        grow_table,
    ],
)
def test_damage_is_told_at_once_and_every_time(
    in_table: Path, damage: Callable[[Path], None]
) -> None:
    """The second opening must not take the first one's traces for a sound database."""
    assert whole_batches(in_table) == BATCHES
    damage(in_table)
    before = {file.name for file in in_table.iterdir()} - {"LOG", "LOG.old"}
    for create in (False, True, False):
        with pytest.raises(DamagedStore, match="--record-lost") as caught:
            open_leveldb(in_table, create=create)
        assert "b'" not in str(caught.value)
    after = {file.name for file in in_table.iterdir()} - {"LOG", "LOG.old"}
    assert before <= after, "refusing must not delete what might be rescued"


def test_a_log_that_is_gone_is_told_also_when_all_was_in_it(in_log: Path) -> None:
    lose_log(in_log)
    for _ in range(2):
        with pytest.raises(DamagedStore, match=r"\.log is gone, with the latest writes"):
            open_leveldb(in_log, create=True)


@pytest.mark.parametrize("tail", ["cut", "zeros"])
def test_a_torn_log_leaves_the_first_batches_whole(in_log: Path, tmp_path: Path, tail: str) -> None:
    """LevelDB drops a torn tail in silence: right for what was never synced, and never a half."""
    log = largest(in_log, ".log")
    data = log.read_bytes()
    rng = random.Random(1)
    counts = set()
    for length in [0, 1, 6, 7, len(data) - 1, *(rng.randrange(len(data)) for _ in range(40))]:
        copy = tmp_path / "copy"
        shutil.copytree(in_log, copy)
        rest = b"" if tail == "cut" else bytes(len(data) - length)
        (copy / log.name).write_bytes(data[:length] + rest)
        try:
            counts.add(whole_batches(copy))
        except DamagedStore as error:
            # Half a record, then zeros, or a fragment whose record goes on in a block that is gone.
            assert "--record-lost" in str(error)
        shutil.rmtree(copy)
    assert 0 in counts
    assert max(counts) == BATCHES - 1 or tail == "zeros"
    assert len(counts) > 10 or tail == "zeros"


def flipped(data: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.parametrize("suffix", [".log", ".ldb", "manifest"])
def test_a_flipped_bit_never_changes_what_is_read(
    suffix: str, in_log: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Either it is told, or it lies where nothing depends on it. Never other contents.

    In a log the flipped bit may lie in the length of a record and make it look torn; then that
    record and those after it go, as in a crash.
    """
    path = in_log if suffix == ".log" else request.getfixturevalue("in_table")
    victim = manifest_of(path) if suffix == "manifest" else largest(path, suffix)
    data = victim.read_bytes()
    rng = random.Random(2)
    told = 0
    rounds = 60
    for _ in range(rounds):
        copy = tmp_path / "copy"
        shutil.copytree(path, copy)
        (copy / victim.name).write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        try:
            count = whole_batches(copy)
        except DamagedStore:
            told += 1
        else:
            assert suffix == ".log" or count == BATCHES
        shutil.rmtree(copy)
    assert told >= rounds * 3 // 4


def test_damage_found_while_reading_is_told(in_table: Path) -> None:
    """The first block of a table: nothing reads it before somebody asks."""
    table = largest(in_table, ".ldb")
    table.write_bytes(flipped(table.read_bytes(), 300, 3))
    store = open_leveldb(in_table, create=False)
    with pytest.raises(DamagedStore, match="checksum"):
        store.get(rows_of(0)[0][0])
    with pytest.raises(DamagedStore, match="checksum"):
        list(store.scan(b"k"))
    with pytest.raises(DamagedStore, match="checksum"):
        list(store.scan(b"k", reverse=True))
    store.close()


def test_a_table_cut_short_while_the_database_is_open(in_table: Path) -> None:
    store = open_leveldb(in_table, create=False)
    empty_table(in_table)
    with pytest.raises(DamagedStore, match="--record-lost"):
        store.get(rows_of(0)[0][0])
    with pytest.raises(DamagedStore, match="--record-lost"):
        list(store.scan(b""))
    store.close()


def test_a_table_deleted_while_the_database_is_open(in_table: Path) -> None:
    """LevelDB's get() cannot tell a table that is not found from a key that is not: a scan can,
    and so can the next opening."""
    store = open_leveldb(in_table, create=False)
    lose_table(in_table)
    with pytest.raises(DamagedStore, match="--record-lost"):
        list(store.scan(b""))
    store.close()
    with pytest.raises(DamagedStore, match="is gone"):
        open_leveldb(in_table, create=False)


@pytest.mark.parametrize("reverse", [False, True])
def test_damage_at_the_end_of_a_scan_is_told(in_table: Path, reverse: bool) -> None:
    """A scan that stops at the damaged block would look like one that found less."""
    table = largest(in_table, ".ldb")
    data = table.read_bytes()
    places = range(len(data) - 2500, len(data) - 1900, 100) if not reverse else range(10, 400, 100)
    for place in places:
        table.write_bytes(flipped(data, place, 3))
        store = open_leveldb(in_table, create=False)
        with pytest.raises(DamagedStore, match="checksum"):
            list(store.scan(b"", reverse=reverse))
        store.close()


def test_a_killed_process_loses_nothing_that_it_was_promised(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [*WRITER, "forever", str(tmp_path / "db")], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if line == "acknowledged 30\n":
            writer.kill()
            break
    rest = writer.stdout.read().splitlines()
    writer.wait()
    assert whole_batches(tmp_path / "db") >= 31 + len(rest)


def test_a_full_disk_stops_the_store_for_good(tmp_path: Path) -> None:
    """The limit is lifted after the failure: the store must not take that for a recovery."""
    run = subprocess.run(
        [*WRITER, "full", str(tmp_path / "db")], capture_output=True, text=True, check=True
    )
    check_stopped(run.stdout, tmp_path / "db", "File too large")


@pytest.mark.root
def test_a_failed_fsync_stops_the_store_for_good(tmp_path: Path) -> None:
    """Only one fsync fails; the next would "succeed" without the pages of the first."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not here")
    inject = ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync:error=EIO:when=12"]
    run = subprocess.run(
        [strace, "-f", "-o", "/dev/null", *inject, *WRITER, "injected", str(tmp_path / "db")],
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in run.stderr:
        pytest.skip("this machine lets nobody trace")
    check_stopped(run.stdout, tmp_path / "db", "Input/output error")


def check_stopped(output: str, path: Path, reason: str) -> None:
    *acknowledged, failed, refused, readable = output.splitlines()
    assert failed.startswith(f"failed: writing to the database at {path} failed (IO error")
    assert reason in failed
    assert refused == "refused:" + failed.removeprefix("failed:"), "the second write was taken"
    assert readable == "readable: True"
    assert len(acknowledged) > 2
    assert all(line.startswith("acknowledged") for line in acknowledged)
    assert whole_batches(path) in (len(acknowledged), len(acknowledged) + 1)
