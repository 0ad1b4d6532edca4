"""The store on disk: LevelDB behind one function.

LevelDB's own checks are on (paranoid recovery, checksums on every read), and what it reports comes
out as one of four errors with a sentence: DamagedStore, ForeignStore, StoreLocked, StoreFailure.
What it would pass over in silence is checked before it opens: a directory whose ``CURRENT`` is gone
(it would begin afresh and delete the rest), and a log that is gone (it would go on without what was
in it). What no check can tell is a log that lost its tail: LevelDB takes that for a write that a
crash interrupted, and goes on from the last whole batch.

docs/decisions/0002 says which binding serves which Python and platform.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from chain import codec
from chain.codec import Record, Uint
from chain.errors import DamagedStore, ForeignStore, InvalidEncoding, StoreFailure, StoreLocked
from chain.storage import SCHEMA_KEY, Changes, Store, prefix_end
from chain.storage.manifest import files_of


def _binding() -> Any:
    """plyvel (also installed by plyvel-ci), or its fork plyvel-next under its own name."""
    try:
        return importlib.import_module("plyvel")
    except ModuleNotFoundError:
        return importlib.import_module("plyvel_next")


plyvel: Final = _binding()

MAGIC: Final = "moot"
SCHEMA_VERSION: Final = 2
"""2: validator sets may be joint, and voters keep membership votes in the state."""
WRITE_BUFFER_SIZE: Final = 8 * 1024 * 1024
"""Bytes gathered in memory before a table is written: one large block always fits."""
BLOOM_FILTER_BITS: Final = 10
"""Bits a key: about one needless table read in a hundred look-ups of absent keys."""

_LEVELDB_FILE = re.compile(
    r"CURRENT|LOCK|LOG|LOG\.old|MANIFEST-\d+|\d+\.(log|ldb|sst|dbtmp)", re.ASCII
)
_UNBORN_FILE = re.compile(r"LOCK|LOG|LOG\.old|MANIFEST-000001|000001\.dbtmp", re.ASCII)
"""What a crash in LevelDB's very first moments leaves: nothing in it can be anybody's data."""
_BROKEN_FILE = re.compile(
    r"^(IO error: .*Invalid argument|NotFound: .*No such file or directory)$", re.S
)
"""A table too short for its index, or gone: to LevelDB both are errors of the disk."""
_REMEDY = (
    "initialise the node again with its key and --record-lost, and it fetches the chain from its"
    " peers; an older copy of the database would not know what the node has voted since"
)


_open_here: set[Path] = set()
"""Directories that this process has open. LevelDB must not be asked for one of them again: it opens
and closes the lock file before it refuses, and closing it gives up the lock that is held (POSIX
fcntl locks belong to the process, not to the file descriptor)."""


class _Schema(Record, frozen=True):
    magic: str
    version: Uint


class _LevelDBStore:
    """A Store in a LevelDB directory. Made by open_leveldb."""

    def __init__(self, database: Any, path: Path) -> None:
        self._database = database
        self._path = path
        self._refusal: str | None = None

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._database.get(key, verify_checksums=True)
        except (plyvel.Error, OSError) as error:
            raise _read_error(self._path, error) from error
        return value

    def write(self, changes: Changes, sync: bool) -> None:
        if self._refusal is not None:
            raise StoreFailure(self._refusal)
        try:
            with self._database.write_batch(transaction=True, sync=sync) as batch:
                for key, value in changes:
                    assert key != SCHEMA_KEY, "the schema key is the store's own"
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except (plyvel.Error, OSError) as error:
            self._refusal = (
                f"writing to the database at {self._path} failed ({_text(error)}): nothing more is"
                " written, since what reached the disk is unknown; see to the disk (space,"
                " hardware), then start again"
            )
            raise StoreFailure(self._refusal) from error

    def scan(
        self, prefix: bytes, *, start: bytes = b"", reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            # Not plyvel's plain iterator: where a damaged block ends the table, that one stops
            # as if there were no more rows. The raw one asks LevelDB for its status at each step.
            rows = self._database.raw_iterator(verify_checksums=True)
        except (plyvel.Error, OSError) as error:
            raise _read_error(self._path, error) from error
        walk = _walk_down if reverse else _walk_up
        return self._checked(rows, walk(rows, prefix, start))

    def _checked(
        self, rows: Any, walk: Iterator[tuple[bytes, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            for key, value in walk:
                if key != SCHEMA_KEY:
                    yield key, value
        except (plyvel.Error, OSError) as error:
            raise _read_error(self._path, error) from error
        finally:
            rows.close()

    def compact(self) -> None:
        """See ``compact``."""
        try:
            # Named ends: without them the binding asks for a range with nothing in it.
            self._database.compact_range(start=b"\x00", stop=b"\xff" * 8)
        except (plyvel.Error, OSError) as error:
            raise _read_error(self._path, error) from error

    def close(self) -> None:
        self._database.close()
        _open_here.discard(self._path)


def compact(store: Store) -> None:
    """Rewrites the whole database without what was deleted: the room is given back now.

    It takes as long as copying the database does. Raises StoreFailure.
    """
    assert isinstance(store, _LevelDBStore), "only a database on disk has room to give back"
    store.compact()


def _walk_up(rows: Any, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    rows.seek(prefix + start)
    while rows.valid():
        key, value = rows.item()
        if not key.startswith(prefix):
            return
        yield key, value
        rows.next()


def _walk_down(rows: Any, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    first = prefix + start if start else prefix_end(prefix)
    if first is not None:
        rows.seek(first)
    if first is None or not rows.valid():
        rows.seek_to_last()
    elif not start or rows.key() != first:
        rows.prev()
    while rows.valid():
        key, value = rows.item()
        if not key.startswith(prefix):
            return
        yield key, value
        rows.prev()


def open_leveldb(path: Path, *, create: bool) -> Store:
    """Opens the database in the directory ``path``; with ``create`` makes it where there is none.

    Raises DamagedStore where there is none (and ``create`` is off) or it is broken, ForeignStore
    where it is not Moot's or of a newer version, StoreLocked where a process has it open, and
    StoreFailure where the disk refuses. Nothing that is not ours is ever changed.
    """
    path = path.resolve()
    if path in _open_here:
        raise _locked(path)
    exists = _check_directory(path, create)
    if not exists:
        _make_directory(path)
    problem = _missing_files(path) if exists else None
    if problem is not None:
        _refuse_if_locked(path)  # a live database's files change while they are looked at
        raise DamagedStore(f"the database at {path} is damaged ({problem}): {_REMEDY}")
    database = _open_database(path, create_if_missing=create)
    store = _LevelDBStore(database, path)
    try:
        _check_schema(store, database, path, create)
    except (DamagedStore, ForeignStore, StoreFailure):
        database.close()
        raise
    _open_here.add(path)
    return store


def _check_directory(path: Path, create: bool) -> bool:
    """Whether a database is there; raises where opening it would destroy or disguise something."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except FileNotFoundError:
        names = []
    except NotADirectoryError:
        raise ForeignStore(f"{path} is, or lies below, a file: name a directory") from None
    except OSError as error:
        raise StoreFailure(f"cannot read the directory {path}: {error.strerror}") from error
    if "CURRENT" in names:
        return True
    strangers = [name for name in names if not _LEVELDB_FILE.fullmatch(name)]
    if strangers:
        raise ForeignStore(
            f"{path} holds other files ({strangers[0]}) and no database: choose another directory"
        )
    if any(not _UNBORN_FILE.fullmatch(name) for name in names):
        raise DamagedStore(f"the database at {path} has lost its CURRENT file: {_REMEDY}")
    if not create:
        raise DamagedStore(f"there is no database at {path}: check the path, or initialise a node")
    return False


def _make_directory(path: Path) -> None:
    """Makes ``path``, and its own entry in the directory above durable (LevelDB does not)."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        above = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(above)
        finally:
            os.close(above)
    except OSError as error:
        raise StoreFailure(f"cannot make the directory {path}: {error.strerror}") from error


def _missing_files(path: Path) -> str | None:
    """What LevelDB's manifest names and the directory lacks, in words; None: nothing."""
    try:
        manifest = path / (path / "CURRENT").read_text("ascii").strip()
        files = files_of(manifest.read_bytes())
    except (OSError, UnicodeDecodeError, ValueError):
        return None  # LevelDB will say what is wrong with CURRENT or the manifest
    if files is None:
        return None
    if files.log and not (path / f"{files.log:06}.log").exists():
        return f"the log {files.log:06}.log is gone, with the latest writes"
    for number, size in files.tables.items():
        table = path / f"{number:06}.ldb"
        try:
            found = table.stat().st_size
        except FileNotFoundError:
            return f"the table {table.name} is gone"
        except OSError as error:
            raise StoreFailure(f"cannot read {table}: {error.strerror}") from error
        if found != size:
            return f"the table {table.name} has {found} bytes where {size} were written"
    return None


def _refuse_if_locked(path: Path) -> None:
    """Raises StoreLocked where a process has the database open; changes nothing in it."""
    try:
        _open_database(path, error_if_exists=True).close()
    except (DamagedStore, StoreFailure):
        return  # LevelDB takes the lock before it refuses what exists


def _open_database(path: Path, **options: bool) -> Any:
    try:
        return plyvel.DB(
            str(path),
            paranoid_checks=True,
            write_buffer_size=WRITE_BUFFER_SIZE,
            bloom_filter_bits=BLOOM_FILTER_BITS,
            **options,
        )
    except (plyvel.Error, OSError) as error:
        if _text(error).startswith("IO error: lock "):
            raise _locked(path) from error
        raise _read_error(path, error) from error


def _check_schema(store: _LevelDBStore, database: Any, path: Path, create: bool) -> None:
    raw = store.get(SCHEMA_KEY)
    if raw is None:
        if next(store.scan(b""), None) is not None:
            raise ForeignStore(f"the database at {path} was not made by Moot: choose another path")
        if not create:
            raise DamagedStore(f"the database at {path} is empty, with no mark of Moot: {_REMEDY}")
        mark = codec.encode(_Schema(MAGIC, SCHEMA_VERSION))
        try:
            database.put(SCHEMA_KEY, mark, sync=True)
        except (plyvel.Error, OSError) as error:
            raise StoreFailure(f"cannot write to the database at {path}: {_text(error)}") from error
        return
    try:
        schema = codec.decode(raw, _Schema)
    except InvalidEncoding:
        raise ForeignStore(f"the database at {path} bears a mark that is not Moot's") from None
    if schema.magic != MAGIC:
        raise ForeignStore(f"the database at {path} was made by {schema.magic!r}, not by Moot")
    if schema.version > SCHEMA_VERSION:
        raise ForeignStore(
            f"the database at {path} has schema {schema.version}, this Moot knows up to"
            f" {SCHEMA_VERSION}: upgrade Moot"
        )
    if schema.version < SCHEMA_VERSION:
        raise ForeignStore(
            f"the database at {path} has schema {schema.version}, of a Moot older than this one,"
            f" whose schema is {SCHEMA_VERSION}: run it with that, or begin a new chain"
        )


def _read_error(path: Path, error: Exception) -> DamagedStore | StoreFailure:
    """Ours for LevelDB's: what says "damage", and what says that the disk refuses."""
    text = _text(error)
    if isinstance(error, plyvel.CorruptionError) or _BROKEN_FILE.search(text):
        return DamagedStore(f"the database at {path} is damaged ({text}): {_REMEDY}")
    return StoreFailure(f"the disk refuses the database at {path} ({text})")


def _locked(path: Path) -> StoreLocked:
    return StoreLocked(f"the database at {path} is open already: stop the process that has it")


def _text(error: Exception) -> str:
    """LevelDB's own words; its binding hands them out as bytes."""
    words = error.args[0] if error.args else ""
    return words.decode(errors="replace") if isinstance(words, bytes) else str(error)
