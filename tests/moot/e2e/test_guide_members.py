"""docs/guides/members.md, box by box: real processes, and the members change while they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from moot.cli.network import ask
from moot.client.node import NodeClient
from tests.moot.e2e.test_guide_network import Reader, index_of
from tests.support.guides import ROOT, Terminals, blocks_of

GUIDE = ROOT / "docs" / "guides" / "members.md"


def test_every_box_is_understood() -> None:
    blocks = blocks_of(GUIDE)
    assert len(re.findall(r"^```console$", GUIDE.read_text(), re.M)) == len(blocks)
    assert {block.terminal for block in blocks} == {None, 1, 2, 3, 4}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_fourth_node_is_admitted_and_the_first_voted_out(tmp_path: Path) -> None:
    blocks = blocks_of(GUIDE)
    with Terminals(tmp_path / "reader") as terminals:
        reader = Reader(terminals)
        learner = index_of(blocks, "add n4 --learner")
        outputs = reader.do(blocks[: learner + 1])
        assert "1 of 2 needed votes" in outputs[-1] and "enough members wish it" in outputs[-1]
        assert re.search(r"node4 +learner", outputs[-1])
        reader.wait_agreed(2)
        promoted = index_of(blocks, "member promote")
        outputs = reader.do(blocks[learner + 1 : promoted + 1])
        assert "enough members wish it" in outputs[-1]
        removed = index_of(blocks, "member remove")
        outputs = reader.do(blocks[promoted + 1 : removed + 1])
        assert "2 of 3 needed votes" in outputs[-1]
        assert re.search(r"node4 +voter +1 +yes", outputs[-1]), "it decides by now"
        assert not re.search(r"node1 +voter", outputs[-1])
        outputs = reader.do(blocks[removed + 1 :])
        assert "1 of 2 needed votes" in outputs[-1] and "the vote is withdrawn" in outputs[-1]
        reader.wait_agreed(reader.height())
        why = ask(terminals.url(0), NodeClient.why)
        assert any("no member any more" in each for each in why.sentences), why
        fourth = ask(terminals.url(3), NodeClient.consensus)
        assert fourth.facts["role"] in ("primary", "backup")
