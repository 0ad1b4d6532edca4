"""Votes on the members, cast against a real node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.bech32m import show_address
from moot.cli.common import Failure
from moot.cli.network import ask
from moot.cli.wallet.member import BEHIND_MAX, _check_caught_up
from moot.client.answers import MemberAnswer
from tests.moot.cli.conftest import Moot, document
from tests.support.live_node import LiveNode
from wallet.development import development_key

NEWCOMER = show_address(development_key(7).address, "rmoot")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """A network of one, whose member decides alone."""
    with LiveNode(tmp_path_factory.mktemp("alone")) as node:
        yield node


@pytest.fixture
def voting(moot: Moot, alone: LiveNode, monkeypatch: pytest.MonkeyPatch) -> Moot:
    monkeypatch.setenv("MOOT_NODE", alone.url)
    return moot


def node_of(alone: LiveNode) -> str:
    return str(alone.folder.path)


def standing(alone: LiveNode, address: str = NEWCOMER) -> str | None:
    found = ask(alone.url, lambda node: node.members())
    return next((each.standing for each in found.members if each.address == address), None)


def test_a_member_without_coins_is_told_what_to_do(voting: Moot, alone: LiveNode) -> None:
    said = voting("wallet", "member", "add", NEWCOMER, "--as", node_of(alone), status=1)
    assert said.exit_code == 1
    assert "has no coins for the fee" in said.stderr and "moot wallet faucet" in said.stderr
    voting("wallet", "faucet", alone.payout)


def test_a_learner_comes_and_goes(voting: Moot, alone: LiveNode) -> None:
    voter = ("--as", node_of(alone), "--json")
    added = document(
        voting("wallet", "member", "add", NEWCOMER, "--learner", "--name", "seven", *voter)
    )
    assert (added["state"], added["standing"]) == ("final", "learner")
    assert standing(alone) == "learner"
    listed = voting("wallet", "member", "list").stdout
    assert "seven" in listed and "learner" in listed and "alone" in listed
    again = voting(
        "wallet", "member", "add", NEWCOMER, "--learner", "--name", "seven", *voter, status=1
    )
    assert again.exit_code == 1 and "no-change" in again.stdout + again.stderr
    early = voting("wallet", "member", "promote", NEWCOMER, *voter, status=1)
    assert "seven is not linked" in early.stderr and "--force" in early.stderr
    removed = voting("wallet", "member", "remove", NEWCOMER, "--as", node_of(alone))
    assert removed.exit_code == 0 and "enough members wish it" in removed.stdout
    assert standing(alone) is None


def test_a_learner_is_promoted_once_it_has_caught_up() -> None:
    def learner(height: int | None) -> MemberAnswer:
        return MemberAnswer(NEWCOMER, "learner", "seven", finalized_height=height)

    _check_caught_up(learner(5_000 - BEHIND_MAX), 5_000)
    with pytest.raises(Failure, match="101 blocks behind"):
        _check_caught_up(learner(5_000 - BEHIND_MAX - 1), 5_000)
    with pytest.raises(Failure, match="not linked"):
        _check_caught_up(learner(None), 5_000)


def test_what_could_not_count_is_not_sent(voting: Moot, alone: LiveNode) -> None:
    voter = ("--as", node_of(alone))
    for words, sentence in (
        (("promote", NEWCOMER), "is no learner"),
        (("remove", NEWCOMER), "is no member"),
        (("add", NEWCOMER, "--name", "n" * 65), "at most 64 characters"),
        (("add", NEWCOMER, "--name", "\u202enot"), "all of them show"),
    ):
        said = voting("wallet", "member", *words, *voter, status=1)
        assert said.exit_code == 1 and sentence in said.stderr, said.stderr
        assert "Traceback" not in said.stderr


def test_the_last_voter_cannot_leave(voting: Moot, alone: LiveNode) -> None:
    said = voting("wallet", "member", "remove", alone.payout, "--as", node_of(alone), status=1)
    assert said.exit_code == 1 and "last-voter" in said.stderr
    assert standing(alone, alone.payout) == "voter"


def test_a_stranger_votes_in_vain(voting: Moot, alone: LiveNode, tmp_path: Path) -> None:
    key = tmp_path / "stranger.key"
    key.write_text(development_key(0).seed.hex())
    said = voting("wallet", "member", "add", NEWCOMER, "--as", str(key), status=1)
    assert said.exit_code == 1 and "not-a-member" in said.stderr
    assert standing(alone) is None


def test_a_key_file_that_holds_none_is_refused(voting: Moot, tmp_path: Path) -> None:
    key = tmp_path / "empty.key"
    key.write_text("nothing")
    said = voting("wallet", "member", "add", NEWCOMER, "--as", str(key), status=1)
    assert said.exit_code == 1 and "holds no key" in said.stderr


def test_an_admitted_voter_stops_a_network_of_one_until_it_comes(
    voting: Moot, alone: LiveNode
) -> None:
    """Two of two are needed then: the command says that the change is made, and the list shows who
    is missing."""
    voting("wallet", "member", "add", NEWCOMER, "--name", "seven", "--as", node_of(alone))
    found = ask(alone.url, lambda node: node.members())
    seven = next(each for each in found.members if each.address == NEWCOMER)
    assert (seven.standing, seven.linked, found.quorum) == ("voter", False, 2)
