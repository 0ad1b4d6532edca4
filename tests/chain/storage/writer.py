"""A process that writes batches until it is stopped.

Run: python -m tests.chain.storage.writer MODE PATH

``forever``: goes on until it is killed. ``full``: meets a limit on the size of files, which is then
lifted. ``none``: may not write a file at all. ``injected``: meets what an outer strace injects. It
prints a line for each batch that was acknowledged, then what went wrong.
"""

from __future__ import annotations

import random
import resource
import sys
from pathlib import Path

from chain.errors import StoreFailure
from chain.storage import Store
from chain.storage.leveldb import open_leveldb

BATCH = 25
FILE_SIZE_MAX = 40_000
"""Bytes: the log passes it at the fifteenth batch or so."""


def rows_of(batch: int) -> list[tuple[bytes, bytes | None]]:
    """A batch that can be told half from whole."""
    fill = random.Random(batch).randbytes(90)
    return [(b"k%04d-%02d" % (batch, part), fill) for part in range(BATCH)]


def limit_file_size(size: int | None) -> None:
    """From here on no file of this process may grow beyond ``size`` bytes; None: no limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def write_on(store: Store, batch: int, *, sync: bool = True) -> None:
    """Writes batches from ``batch`` on until one fails."""
    while True:
        store.write(rows_of(batch), sync=sync)
        print("acknowledged", batch, flush=True)
        batch += 1


def say_failures(store: Store, batch: int) -> None:
    """Shows the first failure, and that the store refuses from then on, yet can be read."""
    for word in ("failed:", "refused:"):
        try:
            write_on(store, batch)
        except StoreFailure as error:
            print(word, error)
        limit_file_size(None)
        batch = 9_000
    print("readable:", store.get(rows_of(0)[0][0]) == rows_of(0)[0][1])


def main(mode: str, path: Path) -> None:
    if mode == "none":
        limit_file_size(4)
        try:
            open_leveldb(path, create=True)
        except StoreFailure as error:
            print("unopened:", error)
        return
    store = open_leveldb(path, create=True)
    if mode == "forever":
        write_on(store, 0)
    elif mode == "full":
        limit_file_size(FILE_SIZE_MAX)
    say_failures(store, 0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
