"""A Dask cluster of real processes on 127.0.0.1: a scheduler, and workers that can be lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

START_S = 60


class DaskCluster:
    """A scheduler and single-threaded workers, each a process. Close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self._file)
        )
        deadline = time.monotonic() + START_S
        while not self._file.exists() or not self._file.read_bytes():
            assert self.scheduler.poll() is None and time.monotonic() < deadline, self._log()
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_bytes())["address"]

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(path for path in sys.path if path)
        with (self._folder / "dask.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", what, *arguments, "--no-dashboard"],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _log(self) -> str:
        return (self._folder / "dask.log").read_text(encoding="utf-8", errors="replace")

    def add_worker(self) -> None:
        """It registers by itself; nobody need wait for it."""
        self.workers.append(
            self._start(
                "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny"
            )
        )

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
