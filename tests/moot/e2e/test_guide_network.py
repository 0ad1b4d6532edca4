"""docs/guides/network.md, box by box, as a reader would paste it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from moot.cli.common import Failure
from moot.cli.network import ask
from moot.client.answers import NodeStatus
from moot.client.node import NodeClient
from tests.support.guides import ROOT, Block, Terminals, blocks_of

GUIDE = ROOT / "docs" / "guides" / "network.md"
WAIT_S = 90.0


def until(wanted: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not wanted():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def status(terminals: Terminals, number: int) -> NodeStatus | None:
    try:
        return ask(terminals.url(number), NodeClient.status)
    except Failure:  # it does not answer (yet, or any more)
        return None


class Reader:
    """Pastes block after block, and looks before going on, as people do."""

    def __init__(self, terminals: Terminals) -> None:
        self.terminals = terminals

    def do(self, blocks: list[Block]) -> list[str]:
        outputs = []
        for block in blocks:
            outputs.append(self.terminals.paste(block))
            if block.terminal is not None and "node run" in block.text:
                self.wait_up(block.terminal - 1)
        return outputs

    def nodes(self) -> list[int]:
        return [terminal - 1 for terminal in self.terminals.busy if terminal <= 4]

    def wait_up(self, number: int) -> None:
        """Until it answers, and is linked if it is not alone."""
        needed = min(1, len(self.nodes()) - 1)

        def up() -> bool:
            found = status(self.terminals, number)
            return found is not None and found.peers >= needed

        until(up, lambda: self.terminals.log(number + 1))

    def wait_agreed(self, height: int) -> None:
        """Until all nodes have the same block, at ``height`` or above, final or confirmed."""

        def agreed() -> bool:
            found = [status(self.terminals, number) for number in self.nodes()]
            points = {None if each is None else each.finalized for each in found}
            point = points.pop()
            return not points and point is not None and point.height >= height

        until(agreed, lambda: "\n".join(self.terminals.log(t)[-800:] for t in self.terminals.busy))

    def height(self) -> int:
        found = status(self.terminals, 0)
        assert found is not None
        return found.finalized.height


def chapters() -> tuple[list[Block], list[Block]]:
    """The blocks of the PBFT chapter and of the proof-of-work chapter."""
    blocks = blocks_of(GUIDE)
    border = next(i for i, block in enumerate(blocks) if "--engine pow" in block.text)
    return blocks[:border], blocks[border:]


def index_of(blocks: list[Block], text: str) -> int:
    return next(i for i, block in enumerate(blocks) if text in block.text)


def test_every_box_is_understood() -> None:
    pbft, pow_ = chapters()
    assert len(re.findall(r"^```console$", GUIDE.read_text(), re.M)) == len(pbft) + len(pow_)
    assert {block.terminal for block in pbft} == {None, 1, 2, 3, 4}
    assert {block.terminal for block in pow_} == {None, 1, 2, 3, 4, 5}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_three_validators_an_observer_and_restarts(tmp_path: Path) -> None:
    blocks, _ = chapters()
    with Terminals(tmp_path / "reader") as terminals:
        reader = Reader(terminals)
        late = index_of(blocks, "--dir n4")
        outputs = reader.do(blocks[:late])
        assert "final in block" in outputs[-1] and "1.5" in outputs[-1]
        reader.wait_agreed(2)
        restarts = next(i for i, block in enumerate(blocks) if block.stop_first)
        reader.do(blocks[late : late + 2])
        reader.wait_agreed(2)  # the observer has caught up
        outputs = reader.do(blocks[late + 2 : restarts])
        assert re.search(r"^bob +1\.5$", outputs[-1], re.M), outputs
        height = reader.height()
        stops = index_of(blocks, "send bob alice") + 1
        outputs = reader.do(blocks[restarts:stops])
        assert "final in block" in outputs[-1]
        reader.wait_agreed(height + 1)
        outputs = reader.do(blocks[stops:])
        assert terminals.busy == []
        assert "sound: " in outputs[-1]
        assert (tmp_path / "reader" / "guide.chain").stat().st_size > 1_000


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_proof_of_work_with_a_miner_outside(tmp_path: Path) -> None:
    before, blocks = chapters()
    with Terminals(tmp_path / "reader") as terminals:
        reader = Reader(terminals)
        # What the chapter before left behind: a password and a home for the wallets.
        setting = before[index_of(before, "password.txt")].text.splitlines()[:2]
        home = before[index_of(before, "export MOOT_NODE")].text.splitlines()[0]
        terminals.paste(Block(None, False, "\n".join([*setting, home]) + "\n"))
        balance = index_of(blocks, "wallet balance digger")
        reader.do(blocks[:balance])
        reader.wait_agreed(1)  # one block with the confirmations on top
        outputs = reader.do(blocks[balance : balance + 1])
        assert re.search(r"^digger +\d+ .*maturing", outputs[0], re.M), outputs
        height = reader.height()
        end = len(blocks) - 1
        reader.do(blocks[balance + 1 : end])
        reader.wait_agreed(height + 1)
        reader.do(blocks[end:])
        assert "accepted" in terminals.log(5)
        assert terminals.busy == [1, 2, 3, 4]
