"""A campaign's runs on a Dask cluster: seeds are independent work, and an existing engine spreads
them. An optional extra (``cluster``); nothing else of Moot needs it.

A run is done once, whoever does it: what a lost worker had under way goes to another one, and what
killed several workers in a row is done here. A cluster that is lost altogether is said so, with
what was done until then.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consensus.registry import GROUP
from moot.cli.common import Failure
from moot.lab.run import Outcome, RunOptions, run

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S: Final = 10
WORKERLESS_S: Final = 60
"""How long a cluster may have no worker at all: that of a restart of its machines."""
LOOK_S: Final = 2.0
"""Between two looks whether scheduler and workers are still there."""
UNDER_WAY_PER_THREAD: Final = 3
"""Runs handed out at a time for each thread of the cluster: enough that none waits for us, few
enough that a campaign of a million seeds is not a million messages at once."""
UNDER_WAY_MIN: Final = 16
UNPACKING: Final = "Error during deserialization"
"""How the scheduler's complaint begins when it lacks what the task needs."""
OURS: Final = ("chain", "consensus", "p2p", "wallet", "moot")
ONE_AT_A_TIME: Final = threading.Lock()
"""A planted mutant changes code for a whole process, so runs share none at the same time."""


class ClusterLost(Exception):
    """The cluster does no more runs; those that were done stay done."""


class Answer(msgspec.Struct, frozen=True):
    """What a worker sends back. ``outcome`` None: its code is not ours, so it did nothing."""

    outcome: bytes | None
    code: str


def run_one(options: bytes, code: str) -> Answer:
    """On a worker: one run, if the worker's code is that of whoever asks."""
    chosen = msgspec.json.decode(options, type=RunOptions)
    own = code_digest(chosen.engine)
    if own != code:
        return Answer(None, own)
    with ONE_AT_A_TIME:
        return Answer(msgspec.json.encode(run(chosen)), own)


@cache
def code_digest(engine: str) -> str:
    """Of all source files of Moot and of the engine's package: equal code gives equal runs."""
    foreign = [entry.module.partition(".")[0] for entry in entry_points(group=GROUP, name=engine)]
    digest = hashlib.sha256()
    for package in (*OURS, *sorted(set(foreign) - set(OURS))):
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\n".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def on_cluster(todo: list[RunOptions], address: str) -> Iterator[tuple[RunOptions, Outcome]]:
    """Runs on the workers of the scheduler at ``address``; each outcome as it comes.

    Raises Failure (no Dask here, no scheduler there), ClusterLost.
    """
    if not todo:
        return
    client = _connect(address)
    try:
        yield from _Spread(client, address, todo).outcomes()
    finally:
        client.close(timeout=1)


def _connect(address: str) -> Client:
    try:
        from distributed import Client
        from distributed.comm import resolve_address
    except ImportError:
        raise Failure(
            "a cluster needs Dask, which is not installed here: pip install 'moot[cluster]'"
        ) from None
    # Its background threads log what is said here in a sentence.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        resolve_address(address)  # what is no address at all would leave a broken client behind
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Failure(f"no Dask scheduler answers at {address}: {reason}") from None


class _Spread:
    """Hands runs out, takes outcomes in, and notices when neither goes on."""

    def __init__(self, client: Client, address: str, todo: list[RunOptions]) -> None:
        self._client = client
        self._address = address
        self._todo = deque(todo)
        self._under_way: dict[Future, RunOptions] = {}
        self._done: SimpleQueue[Future] = SimpleQueue()
        self._code = code_digest(todo[0].engine)
        self._workers_seen_s = monotonic()

    def outcomes(self) -> Iterator[tuple[RunOptions, Outcome]]:
        self._look()
        while self._todo or self._under_way:
            self._hand_out()
            try:
                future = self._done.get(timeout=LOOK_S)
            except Empty:
                self._look()
                continue
            options = self._under_way.pop(future)
            yield options, self._outcome(future, options)

    def _hand_out(self) -> None:
        room = self._room - len(self._under_way)
        for _ in range(min(room, len(self._todo))):
            options = self._todo.popleft()
            future = self._client.submit(
                run_one, msgspec.json.encode(options), self._code, pure=False
            )
            self._under_way[future] = options
            future.add_done_callback(self._done.put)

    def _look(self) -> None:
        """Raises ClusterLost when the scheduler has gone, or has had no worker for long."""
        if self._client.status != "running":
            raise ClusterLost(f"the scheduler at {self._address} has gone")
        try:
            threads = sum(self._client.nthreads().values())
        except (OSError, RuntimeError):
            raise ClusterLost(f"the scheduler at {self._address} has gone") from None
        self._room = max(UNDER_WAY_MIN, UNDER_WAY_PER_THREAD * threads)
        if threads:
            self._workers_seen_s = monotonic()
        elif monotonic() - self._workers_seen_s >= WORKERLESS_S:
            raise ClusterLost(
                f"the scheduler at {self._address} has had no worker for {WORKERLESS_S} s; "
                f"start some: dask worker {self._address} --nthreads 1"
            )

    def _outcome(self, future: Future, options: RunOptions) -> Outcome:
        from distributed import KilledWorker

        if future.status != "error":
            if future.status != "finished":
                raise ClusterLost(f"the scheduler at {self._address} has gone")
            return self._read(future.result())
        error: Any = future.exception()
        if isinstance(error, KilledWorker):
            return run(options)  # several workers died under it; whatever the reason, it is done
        if isinstance(error, ModuleNotFoundError) or str(error).startswith(UNPACKING):
            raise ClusterLost(
                f"the cluster at {self._address} cannot run Moot: {error}; install the same "
                "version of it beside the scheduler and beside every worker"
            )
        assert isinstance(error, Exception)
        raise error

    def _read(self, answer: Answer) -> Outcome:
        if answer.outcome is None:
            raise ClusterLost(
                f"a worker of {self._address} has other code than this machine ({answer.code}, "
                f"here {self._code}): the same seed would be another run there"
            )
        return msgspec.json.decode(answer.outcome, type=Outcome)
