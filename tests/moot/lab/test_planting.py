"""Planting mistakes: what is planted holds, for a while, and not for those who judge."""

from __future__ import annotations

import pytest

from chain.validators import quorum_byzantine
from consensus.pbft import certificates
from moot.lab.planting import MutantGone, Rewrite, honestly, judged_honestly, planted

HALF = Rewrite("chain.validators:quorum_byzantine", "(n + faults_byzantine(n) + 2) // 2", "n // 2")


def test_a_mistake_holds_under_every_name_and_only_for_a_while() -> None:
    with planted([HALF]):
        assert quorum_byzantine(4) == 2
        assert certificates.quorum_byzantine(4) == 2
    assert quorum_byzantine(4) == 3


def test_judges_see_the_right_code() -> None:
    @judged_honestly
    def judge() -> int:
        return quorum_byzantine(4)

    with planted([HALF]):
        with honestly():
            assert quorum_byzantine(4) == 3
        assert (judge(), quorum_byzantine(4)) == (3, 2)


def test_the_right_code_is_back_after_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), planted([HALF]):
        quorum_byzantine(1 // 0)
    assert quorum_byzantine(4) == 3


@pytest.mark.parametrize(
    "gone",
    [
        Rewrite("chain.validators:quorum_byzantine", "no such text", ""),
        Rewrite("chain.validators:quorum_byzantine", "n", ""),
        Rewrite("chain.validators:no_such_function", "n", ""),
        Rewrite("chain.no_such_module:function", "n", ""),
        Rewrite("chain.validators:VALIDATORS_MAX", "n", ""),
    ],
    ids=["text", "ambiguous", "function", "module", "constant"],
)
def test_what_is_gone_is_refused_before_anything_changes(gone: Rewrite) -> None:
    with pytest.raises(MutantGone), planted([HALF, gone]):
        raise AssertionError("nothing may be planted")
    assert quorum_byzantine(4) == 3
