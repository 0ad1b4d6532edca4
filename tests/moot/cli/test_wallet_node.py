"""Paying, asking and signing against real nodes."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from chain.bech32m import show_address
from chain.genesis import COIN
from moot.cli.network import ask
from moot.client.node import NodeClient
from tests.moot.cli.conftest import Moot, document
from tests.support.live_node import LiveNode
from wallet.development import development_key
from wallet.folder import WalletFolder
from wallet.keystore import LIGHT


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wallets that are made once, because their encryption takes its time."""
    made = tmp_path_factory.mktemp("home")
    folder = WalletFolder(made / "wallets", "rmoot", LIGHT)
    folder.import_key("bank", development_key(0), "a password")
    folder.new("bob", "a password")
    return made


@pytest.fixture
def bank(
    moot: Moot, live: LiveNode, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Moot:
    """The command, with the node's address set and a funded wallet called bank."""
    monkeypatch.setenv("MOOT_NODE", live.url)
    shutil.copytree(home, tmp_path / "home")
    return moot


def balance(moot: Moot, who: str) -> int:
    amount = document(moot("wallet", "balance", who, "--json"))["accounts"][0]["balance"]
    assert isinstance(amount, int)
    return amount


def test_send_waits_until_the_payment_is_final_and_names_its_block(
    bank: Moot, live: LiveNode
) -> None:
    bank("wallet", "new", "new", "--light")
    before = balance(bank, "bank")
    sent = document(bank("wallet", "send", "bank", "new", "1.5", "--memo", "hello", "--json"))
    assert sent["state"] == "final" and sent["finality"] == "final"
    assert sent["amount"] == 150_000_000 and sent["memo"] == "hello"
    assert ask(live.url, lambda node: node.block_id_at(sent["height"])) == sent["block"]
    assert sent["txid"] in ask(live.url, lambda node: node.block_txids(sent["block"]))
    assert balance(bank, "new") == sent["amount"]
    assert balance(bank, "bank") == before - sent["amount"] - sent["fee"]
    text = bank("wallet", "send", "bank", "new", "0.5", "--fee", "0.001").stdout
    assert "final in block" in text and "Fee     0.001\n" in text
    shown = bank("wallet", "balance").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["bank", "bob", "new"]
    assert len({line.index(".") for line in shown if "." in line}) == 1


def test_a_balance_is_as_fresh_as_one_asks_for(bank: Moot) -> None:
    for consistency in ("linearizable", "serializable"):
        shown = bank("wallet", "balance", "bank", "--consistency", consistency, "--json")
        (account,) = document(shown)["accounts"]
        assert account["consistency"] == consistency
    assert (
        document(bank("wallet", "balance", "bank", "--json"))["accounts"][0]["consistency"]
        == "head"
    )
    refused = bank("wallet", "balance", "bank", "--consistency", "fresh", status=2)
    assert "linearizable" in refused.stderr and "serializable" in refused.stderr


def test_without_waiting_it_only_says_what_was_sent(bank: Moot) -> None:
    sent = document(bank("wallet", "send", "bank", "bob", "1", "--no-wait", "--json"))
    assert sent["state"] == "sent" and sent["block"] == ""


def test_a_dry_run_sends_nothing_and_needs_no_password(bank: Moot, live: LiveNode) -> None:
    nonce = document(bank("wallet", "balance", "bank", "--json"))["accounts"][0]["pending_nonce"]
    absent = {"MOOT_PASSWORD_FILE": ""}
    shown = bank("wallet", "send", "bank", "bob", "2", "--dry-run", "--json", env=absent)
    assert document(shown)["state"] == "dry-run" and document(shown)["nonce"] == nonce
    after = document(bank("wallet", "balance", "bank", "--json"))["accounts"][0]["pending_nonce"]
    assert after == nonce


def test_an_expired_payment_is_refused_with_the_nodes_code(bank: Moot) -> None:
    for _ in range(2):
        bank("wallet", "send", "bank", "bob", "0.1")
    refused = bank("wallet", "send", "bank", "bob", "1", "--expiry", "1", status=1)
    assert "the node refuses it: " in refused.stderr and "(expired)" in refused.stderr


def test_too_short_a_timeout_says_where_the_payment_is(bank: Moot, working: LiveNode) -> None:
    """Under proof of work nothing is confirmed at once."""
    late = bank(
        *("wallet", "send", "bank", "bob", "1", "--timeout", "0.1", "--node", working.url), status=1
    )
    assert "not confirmed after 0.1 s, but" in late.stderr


def test_waiting_under_proof_of_work_ends_with_confirmed(bank: Moot, working: LiveNode) -> None:
    sent = document(bank("wallet", "send", "bank", "bob", "1", "--json", "--node", working.url))
    assert (sent["state"], sent["finality"]) == ("final", "confirmed")
    text = bank("wallet", "balance", working.payout, "--node", working.url).stdout
    assert "maturing, spendable from height" in text


def test_the_faucet_pays_a_wallet_or_an_address(bank: Moot) -> None:
    bank("wallet", "new", "new", "--light")
    given = document(bank("wallet", "faucet", "new", "--json"))
    assert given["state"] == "final" and balance(bank, "new") == given["amount"]
    address = show_address(development_key(77).address, "rmoot")
    assert "final in block" in bank("wallet", "faucet", address).stdout
    assert balance(bank, address) == 100 * COIN


def test_history_comes_newest_first_page_by_page_and_as_csv(bank: Moot) -> None:
    bank("wallet", "new", "carol", "--light")
    txids = [
        document(bank("wallet", "send", "bank", "carol", f"{n}", "--json"))["txid"]
        for n in range(1, 5)
    ]
    whole = document(bank("wallet", "history", "carol", "--json"))
    assert [entry["txid"] for entry in whole["entries"]] == txids[::-1]
    assert [entry["change"] for entry in whole["entries"]] == [n * COIN for n in (4, 3, 2, 1)]
    assert not whole["more"]
    first = document(bank("wallet", "history", "carol", "--limit", "2", "--json"))
    assert first["more"] and len(first["entries"]) == 2
    page = ("wallet", "history", "carol", "--limit", "2")
    rest = document(bank(*page, "--after", first["entries"][-1]["txid"], "--json"))
    assert [e["txid"] for e in first["entries"] + rest["entries"]] == txids[::-1]
    assert not rest["more"]
    assert f"--after {txids[2]}" in bank(*page).stdout
    rows = list(csv.DictReader(io.StringIO(bank("wallet", "history", "bank", "--csv").stdout)))
    assert rows[0]["txid"] == txids[3]
    fee = document(bank("wallet", "history", "bank", "--json"))["entries"][0]["fee"]
    assert rows[0]["change"] == f"-4.{fee:08d}".rstrip("0") and fee > 0
    unused = show_address(development_key(78).address, "rmoot")
    assert "nothing yet" in bank("wallet", "history", unused).stdout


def test_a_payment_is_signed_where_no_network_is(
    bank: Moot, live: LiveNode, tmp_path: Path
) -> None:
    bank("wallet", "new", "new", "--light")
    no_password = {"MOOT_PASSWORD_FILE": ""}
    bank("wallet", "send", "bank", "new", "3", "--unsigned", "payment.json", env=no_password)
    nowhere = {"MOOT_NODE": "http://127.0.0.1:1"}
    shown = bank("wallet", "sign", "bank", "payment.json", "--out", "payment.hex", env=nowhere)
    assert "Pays   3 to rmoot1" in shown.stderr
    sent = bank("wallet", "broadcast", "payment.hex", "--json", env=no_password)
    assert document(sent)["state"] == "final" and balance(bank, "new") == 3 * COIN
    again = bank("wallet", "broadcast", "payment.hex", "--json")
    assert document(again) == document(sent), "handed in twice, paid once"
    # The same without any node at all.
    status = ask(live.url, NodeClient.status)
    nonce = document(bank("wallet", "balance", "bank", "--json"))["accounts"][0]["pending_nonce"]
    apart = ("--offline", "--unsigned", "next.json", "--nonce", f"{nonce}")
    pay = ("wallet", "send", "bank", "new", "2")
    bank(*pay, *apart, "--chain-id", status.chain_id, env=nowhere)
    printed = bank("wallet", "sign", "bank", "next.json", env=nowhere).stdout
    (tmp_path / "next.hex").write_text(printed)
    bank("wallet", "broadcast", "next.hex")
    assert balance(bank, "new") == 5 * COIN


def test_what_is_signed_is_what_the_file_says(bank: Moot, tmp_path: Path) -> None:
    bank("wallet", "send", "bank", "bob", "3", "--unsigned", "payment.json")
    text = (tmp_path / "payment.json").read_text()
    (tmp_path / "false.json").write_text(text.replace('"amount": "3"', '"amount": "0.3"'))
    refused = bank("wallet", "sign", "bank", "false.json", status=1)
    assert "summary does not say what its transaction does" in refused.stderr
    other = bank("wallet", "sign", "bob", "payment.json", status=1)
    assert "is not wallet bob's" in other.stderr
    taken = bank("wallet", "send", "bank", "bob", "3", "--unsigned", "payment.json", status=1)
    assert "exists already" in taken.stderr and (tmp_path / "payment.json").read_text() == text
    assert json.loads(text)["summary"]["actions"][0]["amount"] == "3"


def test_a_wallet_of_value_and_one_of_a_test_are_kept_apart(bank: Moot) -> None:
    bank("wallet", "new", "rich", "--light", "--network", "main")
    refused = bank("wallet", "balance", "rich", status=1)
    assert "addresses begin with 'moot'" in refused.stderr
    bank("wallet", "import", "tester", "--development", "3", "--light", "--network", "test")
    address = show_address(development_key(3).address, "rmoot")
    assert balance(bank, "tester") == balance(bank, address) > 0


TEST_ADDRESS = show_address(development_key(1).address, "tmoot")
MISTYPED = show_address(development_key(1).address, "rmoot")[:-1] + "b"


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("send", "bank", TEST_ADDRESS, "1"), 1, "this address is of another network"),
        (("send", "bank", MISTYPED, "1"), 2, "Error: Invalid value: "),
        (("send", "bank", "bob", "1e3"), 2, "an amount is digits"),
        (("send", "bank", "bob", "-1"), 2, ""),
        (("send", "bank", "bob", "0.000000001"), 2, "at most 8 digits"),
        (("send", "bank", "bob", "999999999999"), 2, "more than may ever exist"),
        (("send", "bank", "bob", "5000"), 1, "(insufficient-balance)"),
        (("send", "bank", "bob", "1", "--memo", "x" * 257), 1, "a memo has at most 256 bytes"),
        (("send", "bank", "bob", "1", "--fee", "0"), 1, "the node refuses it: "),
        (("send", "bank", "bob", "1", "--nonce", "0"), 1, "the node refuses it: "),
        (("send", "bank", "bob", "1", "--chain-id", "00" * 32), 1, "not the one asked for"),
        (("send", "nobody", "bob", "1"), 1, "there is no keystore"),
        (("send", TEST_ADDRESS.replace("tmoot", "x"), "bob", "1"), 2, "Invalid value"),
        (("send", "bank", "bob", "1", "--offline"), 2, "--offline needs"),
        (("send", "bank", "bob", "1", "--password-file", "wrong"), 1, "the password is wrong"),
        (("balance", "bob", "--node", "http://127.0.0.1:1"), 1, "cannot be reached"),
        (("balance", "bob", "--node", "ftp://x"), 2, "is not the URL of a node"),
        (("history", "bob", "--csv", "--json"), 2, "one of --csv and --json"),
        (("sign", "bank", "wrong"), 1, "not an unsigned transaction"),
        (("broadcast", "wrong"), 1, "hexadecimal"),
        (("broadcast", "absent"), 2, "does not exist"),
    ],
)
def test_a_fault_is_one_sentence_and_never_a_traceback(
    bank: Moot, tmp_path: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    (tmp_path / "wrong").write_text("nothing of use\n")
    before = balance(bank, "bank")
    result = bank("wallet", *arguments, status=status)
    assert sentence in result.stderr and "Traceback" not in result.stderr
    assert balance(bank, "bank") == before


def test_debug_shows_the_traceback_wherever_it_stands(bank: Moot) -> None:
    for words in (
        ("--debug", "wallet", "balance", "nobody"),
        ("wallet", "balance", "nobody", "--debug"),
    ):
        said = bank(*words, status=1).stderr
        assert said.startswith("Traceback") and "\nError: there is no keystore" in said
