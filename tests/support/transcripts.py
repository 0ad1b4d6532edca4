"""Conversations as text: what each node heard and did, in order, for golden files and pages.

A right arrow is an event, a left arrow an effect. ``MOOT_REWRITE_GOLDEN=1`` rewrites the files; the
change is then reviewed as a diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from consensus import contract
from consensus.contract import Effect, Event, Message
from tests.support.engine_cluster import Cluster, Node

REWRITE_VARIABLE = "MOOT_REWRITE_GOLDEN"

ShowMessage = Callable[[Message], str]
ShowRecord = Callable[[bytes], str]


class Transcript:
    """Listens to a cluster. ``show_message`` and ``show_record`` speak the engine's language."""

    def __init__(
        self, cluster: Cluster, show_message: ShowMessage, show_record: ShowRecord
    ) -> None:
        self.lines: list[str] = []
        self.said: list[tuple[int, int, int | None, str]] = []
        """(time, speaker, listener or None for all, what), for sequence diagrams."""
        self._cluster = cluster
        self._show_message = show_message
        self._show_record = show_record
        self._names = {node.address: f"node {node.number}" for node in cluster.nodes}
        self._numbers = {node.address: node.number for node in cluster.nodes}
        cluster.observer = self._listen

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _listen(self, node: Node, what: Event | Effect) -> None:
        arrow = "->" if isinstance(what, Event) else "<-"
        kind = type(what).__name__
        rest = self._rest(what)
        line = f"{self._cluster.now_ms:6} ms  node {node.number}  {arrow} {kind} {rest}"
        self.lines.append(line.rstrip())
        if isinstance(what, contract.Broadcast | contract.Send):
            to = self._numbers[what.to] if isinstance(what, contract.Send) else None
            shown = self._show_message(what.message)
            self.said.append((self._cluster.now_ms, node.number, to, shown))

    def _rest(self, what: Event | Effect) -> str:
        match what:
            case contract.MessageReceived():
                return f"{self._show_message(what.message)} from {self._names[what.sender]}"
            case contract.Broadcast():
                return self._show_message(what.message)
            case contract.Send():
                return f"{self._show_message(what.message)} to {self._names[what.to]}"
            case contract.Persist():
                bodies = " ".join(short(block) for block in what.blocks)
                return f"{{{self._show_record(what.record)}}} bodies [{bodies}]"
            case contract.BlockImported():
                return f"{short(what.block.id)} ({what.origin})"
            case contract.BlockBuilt():
                return "nothing" if what.block is None else short(what.block.id)
            case contract.Import():
                return f"{short(what.block.id)} ({what.origin})"
            case contract.Build():
                return f"on {short(what.parent)}"
            case contract.SetHead() | contract.Finalize() | contract.ProofSeen():
                return short(what.block)
            case contract.Fetch():
                return " ".join(short(block) for block in what.blocks)
            case contract.SetTimer():
                return f"{'/'.join(str(part) for part in what.key)} in {what.delay_ms} ms"
            case contract.CancelTimer() | contract.TimerFired():
                return "/".join(str(part) for part in what.key)
            case contract.TransactionsWaiting():
                return str(what.count)
            case contract.Trace():
                return f"{what.name} {dict(what.fields)}"
            case contract.SetProducer():
                return "nobody" if what.node is None else self._names[what.node]
            case _:
                return ""

    def sequence_diagram(self) -> str:
        """The broadcasts and sends as a Mermaid sequence diagram, self-deliveries left out."""
        numbers = [node.number for node in self._cluster.nodes]
        lines = ["sequenceDiagram"]
        lines += [f"    participant {number} as node {number}" for number in numbers]
        for _, speaker, listener, what in self.said:
            targets = [n for n in numbers if n != speaker] if listener is None else [listener]
            for target in (one for one in targets if one != speaker):
                lines.append(f"    {speaker}->>{target}: {what}")
        return "\n".join(lines) + "\n"


def short(block: bytes) -> str:
    """The first eight digits of an id, as people see ids."""
    return block[::-1].hex()[:8]


def check_golden(path: Path, text: str) -> None:
    """Compares with the golden file, or rewrites it when the environment asks for that."""
    if os.environ.get(REWRITE_VARIABLE) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return
    assert path.exists(), f"{path.name} is missing; {REWRITE_VARIABLE}=1 writes it"
    assert text == path.read_text(encoding="utf-8"), (
        f"the conversation differs from {path.name}; if it should, {REWRITE_VARIABLE}=1 rewrites it"
    )
