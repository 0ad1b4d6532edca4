"""Nodes in worlds that fail: system calls that go wrong, clocks that are wrong, and what it needs.

Each helper says whether it can be used here; a test that needs one that cannot is skipped.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from moot.cli.devnet.plan import Plan
from moot.cli.devnet.processes import NodeProcess

FAKETIME_PLACES = (
    "/usr/lib/x86_64-linux-gnu/faketime",
    "/usr/lib/aarch64-linux-gnu/faketime",
    "/usr/lib/faketime",
    "/usr/local/lib/faketime",
)


class WrappedNode(NodeProcess):
    """A node whose process is started by way of ``prefix``, with ``changes`` to its environment."""

    def __init__(self, directory: Path, plan: Plan, index: int) -> None:
        super().__init__(directory, plan.nodes[index])
        self.prefix: list[str] = []

    def command(self) -> list[str]:
        return [*self.prefix, *super().command()]

    def change(self, changes: Mapping[str, str]) -> None:
        self._environment = dict(changes)


def wrap(nodes: list[NodeProcess], directory: Path, plan: Plan, index: int) -> WrappedNode:
    """Puts a wrapped node in the place of a plain one that was not started yet."""
    made = WrappedNode(directory, plan, index)
    nodes[index] = made
    return made


# ------------------------------------------------------------------------------------- strace


@functools.cache
def can_trace() -> bool:
    """Whether strace is there, may trace, and can inject."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        return False
    words = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def injecting(calls: str, what: str, when: str) -> list[str]:
    """strace before a node: at the ``when``-th of ``calls`` (of a thread) ``what`` happens.

    ``-D`` keeps the node our own child: it gets our signals, and its end is its own.
    """
    inject = f"inject={calls}:{what}:when={when}"
    common = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]
    return [*common, "-e", f"trace={calls}", "-e", inject]


# ----------------------------------------------------------------------------------- faketime


def faketime_library() -> Path | None:
    for place in FAKETIME_PLACES:
        path = Path(place) / "libfaketime.so.1"
        if path.exists():
            return path
    return None


def skewed(seconds: float) -> dict[str, str]:
    """The environment of a process whose wall clock is off by ``seconds``; steady time is true."""
    library = faketime_library()
    assert library is not None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+g}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "0",
    }


needs_faketime = pytest.mark.skipif(
    faketime_library() is None, reason="needs libfaketime (Debian's package faketime)"
)

# --------------------------------------------------------------------------------- namespaces


def run(*words: str) -> None:
    """A command that must succeed; fails with what it said."""
    outcome = subprocess.run(words, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, f"{' '.join(words)}: {outcome.stderr}"


@functools.cache
def can_make_namespaces() -> bool:
    """Whether we are root, and kernel and tools let us make network namespaces and nft tables."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    if shutil.which("ip") is None or shutil.which("nft") is None:
        return False
    name = f"moot-try-{os.getpid()}"
    steps: list[Sequence[str]] = [
        ("ip", "netns", "add", name),
        ("ip", "netns", "exec", name, "nft", "add", "table", "inet", "moot"),
        ("ip", "-n", name, "link", "add", "try0", "type", "veth", "peer", "name", "try1"),
        ("ip", "-n", name, "link", "add", "try2", "type", "bridge"),
    ]
    try:
        return all(
            subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps
        )
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
