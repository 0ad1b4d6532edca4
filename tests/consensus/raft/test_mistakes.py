"""Each rule has a scene that fails without it."""

from __future__ import annotations

import pytest

from moot.lab.planting import planted
from tests.consensus.raft import mistakes_log, mistakes_members
from tests.consensus.raft.mistakes import MISTAKES, Mistake

assert mistakes_log and mistakes_members


def _name(mistake: Mistake) -> str:
    return mistake.scene.__name__


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_the_server_does_right(mistake: Mistake) -> None:
    mistake.scene()


@pytest.mark.parametrize("mistake", MISTAKES, ids=_name)
def test_the_mistake_is_noticed(mistake: Mistake) -> None:
    with planted(mistake.rewrites), pytest.raises((AssertionError, KeyError)):
        mistake.scene()
