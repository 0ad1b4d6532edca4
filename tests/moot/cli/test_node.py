"""``moot node``, ``genesis``, ``miner``, ``load``: set up, ask, work; and their faults."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chain.bech32m import show_address
from moot.client.node import NodeClient
from moot.node.config import Folder
from tests.moot.cli.conftest import Moot, document
from tests.support.live_node import LiveNode
from wallet.development import development_key

ROOT = Path(__file__).parents[3]
ADDRESS = show_address(development_key(5).address, "rmoot")
TEST_ADDRESS = show_address(development_key(5).address, "tmoot")


def start(*arguments: str, cwd: Path, **options: object) -> subprocess.Popen[str]:
    """The command as a process of its own, its words in pipes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOOT_")}
    return subprocess.Popen(
        [sys.executable, "-m", "moot.cli", *arguments],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def folder(moot: Moot, tmp_path: Path) -> Path:
    """The folder of a node that never ran."""
    made = "genesis new --engine pbft --validators 1 --faucet 10 --out net"
    moot(*made.split())
    made = "node init --dir n1 --genesis net/genesis.json --key net/keys/node1.key"
    moot(*made.split(), "--p2p-port", "0", "--rest-port", "0")
    return tmp_path / "n1"


# --- genesis and init -----------------------------------------------------------------------------


def test_genesis_is_made_shown_and_checked(moot: Moot, tmp_path: Path) -> None:
    options = f"--engine pbft --validator a={TEST_ADDRESS} --allocate {TEST_ADDRESS}=12.5 --out net"
    made = document(moot("genesis", "new", "--validators", "2", *options.split(), "--json"))
    assert [Path(key).name for key in made["keys"]] == ["node1.key", "node2.key"]
    assert Path("net/keys/node1.key").stat().st_mode & 0o777 == 0o600
    shown = document(moot("genesis", "show", "net/genesis.json", "--json"))
    # Two validators own a coin each besides, so that they can vote.
    assert shown["chain_id"] == made["chain_id"] and shown["supply"] == 1_450_000_000
    assert {validator["name"] for validator in shown["validators"]} == {"a", "node1", "node2"}
    assert "Supply     14.5\n" in moot("genesis", "show", "net/genesis.json").stdout
    checked = document(moot("genesis", "check", "net/genesis.json", "--json"))
    assert checked == {"ok": True, "chain_id": made["chain_id"]}


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ("genesis new --engine nonsense --out x", 1, "no engine is called 'nonsense'; installed"),
        ("genesis new --engine pbft --out x", 1, "needs at least one validator"),
        ("genesis new --engine pow --validators 1 --out x", 1, "has no validators"),
        ("genesis new --engine pow --param nonsense=1 --out x", 1, "no parameter 'nonsense'"),
        ("genesis new --engine pow --param nonsense --out x", 2, "is not KEY=VALUE"),
        ("genesis new --engine pow --faucet 1 --network main --out x", 1, "has no faucet"),
        ("genesis new --engine pow --faucet one --out x", 2, "an amount is digits"),
        (f"genesis new --engine pow --allocate {ADDRESS}=1 --out x", 2, "of another network"),
        (f"genesis new --engine pow --allocate {TEST_ADDRESS}=x --out x", 2, "an amount is"),
        ("genesis new --engine pow", 2, "--out"),
        ("genesis show absent.json", 2, "does not exist"),
        ("genesis check broken.json", 1, "not JSON"),
        ("node init --dir n1 --genesis broken.json", 1, "not JSON"),
        ("node init --dir n1 --genesis net/genesis.json", 1, "holds a node already"),
        ("node init --dir n2 --genesis broken.json", 1, "broken.json: "),
        ("genesis check broken.json", 1, "broken.json: "),
        ("node init --dir n2 --genesis net/genesis.json --peer nonsense", 1, "is no peer"),
        ("node init --dir n2 --genesis net/genesis.json --payout nonsense", 2, "Invalid value"),
        ("node init --dir n2 --genesis net/genesis.json --key broken.json", 1, "holds no key"),
        ("node init --dir n2 --genesis net/genesis.json --rest-port 65536", 2, "range"),
        ("node run --dir absent", 1, "`moot node init` makes a node's folder"),
        ("node status --node http://127.0.0.1:1", 1, "cannot be reached"),
        ("node status --node nonsense://", 2, "is not the URL of a node"),
        ("verify broken.json", 1, "not a proof document"),
        ("load --node http://127.0.0.1:1", 1, "cannot be reached"),
        ("miner run --node http://127.0.0.1:1 --address " + ADDRESS, 1, "cannot be reached"),
        ("miner run", 2, "name who is paid"),
        ("nonsense", 2, "No such command"),
    ],
)
def test_each_fault_has_its_sentence_and_its_exit_status(
    moot: Moot, folder: Path, tmp_path: Path, arguments: str, status: int, sentence: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    result = moot(*arguments.split(), status=status)
    assert sentence in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == "" and not (tmp_path / "x").exists() and not (tmp_path / "n2").exists()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("[rest", "node.toml"),
        ("[rest]\nport = 'x'\n", "port"),
        ("[rest]\nnonsense = 1\n", "nonsense"),
        ("[p2p]\npeers = ['nonsense']\n", "is no peer"),
        ("[mining]\npayout = 'nonsense'\n", "mining.payout"),
    ],
)
def test_a_damaged_configuration_names_its_fault(
    moot: Moot, folder: Path, damage: str, sentence: str
) -> None:
    (folder / "node.toml").write_text(damage)
    assert sentence in moot("node", "run", "--dir", folder, status=1).stderr


def test_a_missing_or_damaged_part_of_a_folder_is_a_sentence(moot: Moot, folder: Path) -> None:
    key = Folder(folder).key.read_text()
    Folder(folder).key.unlink()
    assert "node.key is missing" in moot("node", "run", "--dir", folder, status=1).stderr
    Folder(folder).key.write_text(key)
    for table in (folder / "db").glob("*.log"):
        table.unlink()
    damaged = moot("node", "run", "--dir", folder, status=1)
    assert "is damaged" in damaged.stderr and "--record-lost" in damaged.stderr


@pytest.mark.parametrize("section", ["rest", "p2p"])
def test_a_taken_port_is_named_with_its_setting(moot: Moot, folder: Path, section: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ports = {"p2p": 0, "rest": 0, section: port}
        settings = folder / "node.toml"
        settings.write_text("".join(f"[{name}]\nport = {ports[name]}\n" for name in ports))
        refused = moot("node", "run", "--dir", folder, status=1)
    assert f"port {port} is taken by another program: change {section}.port in" in refused.stderr
    assert str(settings) in refused.stderr


def test_a_node_runs_until_it_is_interrupted_and_keeps_its_database_to_itself(
    moot: Moot, folder: Path, tmp_path: Path
) -> None:
    running = start("node", "run", "--dir", "n1", cwd=tmp_path)
    try:
        assert running.stderr is not None
        lines = []
        while not lines or '"started"' not in lines[-1]:
            lines.append(running.stderr.readline())
            assert lines[-1], "".join(lines)
        second = moot("node", "run", "--dir", folder, status=1)
        assert "is open already: stop the process that has it" in second.stderr
    finally:
        running.send_signal(signal.SIGINT)
        _, rest = running.communicate(timeout=30)
    assert running.returncode == 0 and "Traceback" not in "".join(lines) + rest


# --- asking ---------------------------------------------------------------------------------------


def test_a_node_says_where_it_stands_whom_it_knows_and_why(moot: Moot, live: LiveNode) -> None:
    to = ("--node", live.url)
    facts = document(moot("node", "status", *to, "--json"))
    assert facts["engine"] == "pbft" and facts["finality"] == "final"
    text = moot("node", "status", *to).stdout
    assert facts["chain_id"] in text and "engine pbft" in text and "faucet" in text
    assert document(moot("node", "peers", *to, "--json")) == {"peers": []}
    assert "no peer is linked" in moot("node", "peers", *to).stdout
    assert document(moot("node", "why", *to, "--json"))["healthy"]
    assert moot("node", "why", *to).stdout.startswith("All is well")


def test_the_nodes_url_may_come_from_the_environment(moot: Moot, live: LiveNode) -> None:
    assert document(moot("node", "status", "--json", env={"MOOT_NODE": live.url}))["name"] == "live"


# --- miner and load -------------------------------------------------------------------------------


def test_the_miner_finds_blocks_for_whom_it_is_told(moot: Moot, working: LiveNode) -> None:
    payee = show_address(development_key(44).address, "rmoot")
    wanted = ("--node", working.url, "--address", payee)
    for _ in range(10):  # the node mines against it, and may win for a while
        report = document(moot("miner", "run", *wanted, "--seconds", "2", "--json"))
        assert report["hash_rate"] > 0 and report["rejected"] == report["lost"] == 0
        if report["accepted"]:
            break
    owned = document(moot("wallet", "balance", payee, "--node", working.url, "--json"))
    account = owned["accounts"][0]
    assert account["balance"] + sum(part["amount"] for part in account["maturing"]) > 0


def test_the_miner_ends_cleanly_with_ctrl_c(working: LiveNode, tmp_path: Path) -> None:
    words = ("miner", "run", "--node", working.url, "--address", ADDRESS)
    running = start(*words, cwd=tmp_path)
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    rest, errors = running.communicate(timeout=30)
    assert first.startswith(f"mining for {ADDRESS}") and running.returncode == 0, errors
    assert "accepted" in rest and errors == ""


def test_there_is_nothing_to_mine_without_proof_of_work(moot: Moot, live: LiveNode) -> None:
    refused = moot("miner", "run", "--node", live.url, "--address", ADDRESS, status=1)
    assert "nothing can be mined here: the chain runs pbft" in refused.stderr
    wrong = moot("miner", "run", "--node", live.url, "--address", TEST_ADDRESS, status=1)
    assert "of another network" in wrong.stderr


def test_the_benchmark_measures_every_kernel(moot: Moot) -> None:
    figures = document(moot("miner", "run", "--benchmark", "--json"))
    assert figures["chosen"] in {kernel["name"] for kernel in figures["kernels"]}
    assert all(kernel["mhs"] > 0 for kernel in figures["kernels"])
    assert "(used)" in moot("miner", "run", "--benchmark").stdout


def test_a_load_is_carried_and_accounted_for(moot: Moot, live: LiveNode) -> None:
    words = ("load", "--node", live.url, "--rate", "20", "--seconds", "1")
    began = time.monotonic()
    report = document(moot(*words, "--json"))
    assert report["submitted"] == report["finalized"] == 20 and report["pending"] == 0
    assert report["latency_ms"]["p50"] > 0 and time.monotonic() - began >= 1
    assert "Finalized   20\n" in moot(*words).stdout


def test_a_load_from_wallets_that_own_nothing_is_refused(moot: Moot, live: LiveNode) -> None:
    moot("wallet", "new", "poor", "--light")
    refused = moot("load", "--node", live.url, "--wallet", "poor", status=1)
    assert "own nothing on this chain" in refused.stderr
    moot("wallet", "import", "rich", "--development", "1", "--light")
    report = document(
        moot("load", "--wallet", "rich", "--seconds", "1", "--json", "--node", live.url)
    )
    assert report["finalized"] == 10


def test_leadership_is_handed_to_a_member_by_its_name_or_its_address(
    moot: Moot, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, ...]] = []

    async def command(client: NodeClient, name: str, arguments: tuple[str, ...] = ()) -> str:
        given.append((name, *arguments))
        return "done"

    monkeypatch.setattr(NodeClient, "command", command)
    Path("token").write_text("secret\n")
    member = development_key(0).address
    for words in ((), ("node2",), (show_address(member, "rmoot"),)):
        moot("node", "transfer", *words, "--token-file", "token")
    assert given == [("transfer",), ("transfer", "node2"), ("transfer", member[1:].hex())]
    said = document(moot("node", "transfer", "--token-file", "token", "--json"))
    assert said == {"outcome": "done"}
