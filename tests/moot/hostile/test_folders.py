"""A node's folder damaged while the node is down: one sentence and exit 1, or nothing wrong at all.

Never a traceback, never silently another chain.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chain.ledger import Ledger
from moot.cli.main import EXPECTED, main
from moot.node.config import ConfigError, Folder, parse_config, show_config
from moot.node.runtime import NodeRuntime
from tests.moot.hostile.test_pow_lies import grow, pay
from tests.support.node_under_attack import NodeUnderAttack, found, node_key
from wallet.errors import DamagedKeystore, WalletError
from wallet.keystore import LIGHT, load_key, save_key


async def lived(directory: Path, engine: str) -> dict[int, tuple[bytes, bytes]]:
    """A folder of a node that has run; block id and state root by height."""
    genesis = found(engine, 0 if engine == "pow" else 1, {})
    async with NodeUnderAttack(directory, genesis, node_key(0)) as node:
        for nonce in range(20):
            assert node.core.submit([pay(node, nonce, (nonce + 1,))]) == [None]
            node.runtime.wake()
            if engine == "pow":
                await grow(node, 4)
            else:
                await node.until(
                    lambda nonce=nonce: node.ledger.height(node.ledger.finalized()) > nonce
                )
        return history(node.ledger)


def history(ledger: Ledger) -> dict[int, tuple[bytes, bytes]]:
    top = ledger.height(ledger.head())
    ids = {height: ledger.id_at(height) or b"" for height in range(top + 1)}
    return {at: (name, ledger.header(name).manifest.state_root) for at, name in ids.items()}


async def run_briefly(folder: Folder) -> dict[int, tuple[bytes, bytes]]:
    """Runs the node until it is up; what its chain is then. Raises what ``moot node run`` says."""
    runtime = NodeRuntime(folder, folder.load_config({}))
    seen: dict[int, tuple[bytes, bytes]] = {}

    def ready(up: NodeRuntime) -> None:
        seen.update(history(up.core.ledger))
        for height in seen:  # everything can be read, or the damage is said
            block = up.core.ledger.block(seen[height][0])
            assert block is not None
            up.core.ledger.receipts(block.id)
        head = up.core.ledger.state()
        assert head.root == seen[max(seen)][1], "the state is not the head's"
        up.request_stop()

    await runtime.run(ready)
    return seen


def damage(rng: random.Random, database: Path) -> str:
    """One file of the database cut, flipped, emptied, swapped, or gone."""
    file = rng.choice(sorted(path for path in database.iterdir() if path.name != "LOCK"))
    raw = bytearray(file.read_bytes())
    kind = rng.choice(("cut", "cut", "flip", "zeros", "empty", "gone", "longer"))
    match kind:
        case "cut":
            del raw[rng.randrange(len(raw) + 1) :]
        case "flip" if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        case "zeros" if raw:
            at = rng.randrange(len(raw))
            raw[at : at + 512] = bytes(min(512, len(raw) - at))
        case "empty":
            raw.clear()
        case "longer":
            raw += rng.randbytes(100)
        case _:
            file.unlink()
            return f"{file.name} {kind}"
    file.write_bytes(raw)
    return f"{file.name} {kind}"


async def ruin(directory: Path, engine: str, rounds: int, seed: int) -> None:
    whole = directory / "whole"
    truth = await lived(whole, engine)
    rng = random.Random(seed)
    said = ran = 0
    for number in range(rounds):
        copy = directory / f"copy{number}"
        shutil.copytree(whole, copy)
        what = damage(rng, copy / "db")
        try:
            seen = await run_briefly(Folder(copy))
        except EXPECTED as error:
            assert str(error) and "Traceback" not in str(error), what
            said += 1
        else:
            for height, facts in seen.items():
                assert truth[height] == facts, f"{what}: another chain at {height}"
            ran += 1
        shutil.rmtree(copy)
    assert said and said + ran == rounds, (said, ran)


@pytest.mark.parametrize("engine", ["pow", "pbft"])
async def test_a_damaged_database_is_said_or_does_no_harm(tmp_path: Path, engine: str) -> None:
    await ruin(tmp_path, engine, 25, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
@pytest.mark.parametrize("engine", ["pow", "pbft"])
async def test_a_damaged_database_in_long_runs(tmp_path: Path, engine: str, seed: int) -> None:
    await ruin(tmp_path, engine, 150, seed)


async def test_the_command_ends_with_one_sentence(tmp_path: Path) -> None:
    """The process itself: exit status 1, one line that says what to do, no traceback."""
    await lived(tmp_path / "n", "pbft")
    table = max((tmp_path / "n" / "db").glob("*.ldb"), default=None, key=lambda p: p.stat().st_size)
    manifest = next((tmp_path / "n" / "db").glob("MANIFEST-*"))
    victim = table or manifest
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "moot.cli", "node", "run", "--dir", str(tmp_path / "n")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")


# ---------------------------------------------------------------------------- keys and text


async def test_a_keystore_with_a_flipped_bit_or_a_wrong_password(tmp_path: Path) -> None:
    """At every byte: the same key, or DamagedKeystore, or WrongPassword; never another key."""
    path = tmp_path / "key.json"
    save_key(path, node_key(3), "correct horse", prefix="rmoot", cost=LIGHT)
    whole = path.read_bytes()
    path.chmod(0o600)
    rng = random.Random(1)
    for at in rng.sample(range(len(whole)), 60):
        broken = bytearray(whole)
        broken[at] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            key = load_key(path, "correct horse")
        except WalletError as error:
            assert error.sentence
        else:
            assert key.seed == node_key(3).seed
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedKeystore):
        load_key(path, "correct horse")
    path.write_bytes(whole)
    for wrong in ("", "correct hors", "Correct horse", "correct horse ", "\x00", "x" * 10_000):
        with pytest.raises(WalletError):
            load_key(path, wrong)


def text_mutant(rng: random.Random, text: str) -> bytes:
    raw = bytearray(text.encode())
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(raw) or 1)
        match rng.randrange(6) if raw else 2:
            case 0:
                raw[at] ^= 1 << rng.randrange(8)
            case 1:
                del raw[at : at + rng.randrange(1, 20)]
            case 2:
                raw[at:at] = rng.choice((b"\xff", b"\x00", b"-", b"9" * 30, b'"', b"[" * 99, b"{"))
            case 3:
                del raw[at:]
                raw += b" "
            case 4:
                raw[at:at] = rng.choice(
                    (b"null", b"1e999", b"true", b"\\u0000", "²".encode(), b"\\ud800", b"NaN")
                )
            case _:
                other = rng.randrange(len(raw))
                raw[at : at + 8] = raw[other : other + 8]
    return bytes(raw)


def start_and_stop(folder: Folder) -> None:
    """``moot node run`` up to the point where everything is open, and back."""

    async def run() -> None:
        runtime = NodeRuntime(folder, folder.load_config({}))
        await runtime.run(lambda up: up.request_stop())

    asyncio.run(run())


@pytest.mark.parametrize("engine", ["pow", "pbft"])
def test_a_mutated_genesis_is_refused_with_a_sentence(tmp_path: Path, engine: str) -> None:
    """The database belongs to the true genesis: no mutant may run on it unless it says the same."""
    genesis = found(engine, 0 if engine == "pow" else 1, {})
    node = NodeUnderAttack(tmp_path / "n", genesis, node_key(0))
    text = node.folder.genesis.read_text()
    rng = random.Random(1)
    refused = 0
    for _ in range(400):
        node.folder.genesis.write_bytes(text_mutant(rng, text))
        try:
            made = node.folder.load_genesis()
            if made == genesis:
                continue
            start_and_stop(node.folder)
            raise AssertionError("another genesis ran on this database")
        except EXPECTED as error:
            assert str(error)
            refused += 1
    assert refused > 300


PEERS = [
    "²",
    "a:" + "9" * 5_000,
    "a:²",
    "[::1]:9",
    "@a:1",
    "x@a:1",
    ":1",
    "a:",
    "a:0",
    "a:99999",
    "\x00:1",
    "a b:1",
]
SETTINGS = [
    *(f'[p2p]\npeers = ["{peer}"]' for peer in PEERS if "\x00" not in peer),
    '[p2p]\nallow = ["zz"]',
    '[p2p]\nhost = "no such host"',
    '[p2p]\nhost = ""',
    '[rest]\nhost = "999.1.1.1"',
    '[rest]\nfaucet_key = "/nowhere"',
    '[rest]\nfaucet_amount = "-1"',
    '[mining]\npayout = "x"',
    "[mining]\nprocesses = 0",
    "[mempool]\nbytes_max = 99999999999999999999999",
    "[mempool]\nbytes_max = -1",
    '[log]\nlevel = "loud"',
    "[nonsense]",
    'p2p = "x"',
    "[node]\nname = 5",
    "a = 1\na = 2",
    "[[p2p]]",
]


@pytest.mark.parametrize("text", SETTINGS)
def test_odd_settings_are_refused_with_a_sentence_or_do_no_harm(tmp_path: Path, text: str) -> None:
    node = NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0))
    base = "" if "[p2p]" in text else "[p2p]\nport = 0\n"
    base += "" if "[rest]" in text else "[rest]\nport = 0\n"
    text = text.replace("[p2p]", "[p2p]\nport = 0").replace("[rest]", "[rest]\nport = 0")
    node.folder.config.write_text(text + "\n" + base)
    try:
        start_and_stop(node.folder)
    except EXPECTED as error:
        assert str(error)


def test_a_mutated_configuration_is_read_or_refused(tmp_path: Path) -> None:
    text = show_config(parse_config("", {}, tmp_path))
    rng = random.Random(2)
    for _ in range(3_000):
        mutant = text_mutant(rng, text)
        try:
            parse_config(mutant.decode("utf-8", "replace"), {}, tmp_path)
        except ConfigError as error:
            assert str(error)


def test_odd_key_files_and_peer_books(tmp_path: Path) -> None:
    node = NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0))
    good = node.folder.key.read_bytes()
    for raw in (b"", b"\xff\xfe", b"zz" * 32, good[:20], good + good, "²".encode() * 32):
        node.folder.key.write_bytes(raw)
        with pytest.raises(ConfigError):
            start_and_stop(node.folder)
    node.folder.key.write_bytes(good)
    for raw in (b"", b"\xff" * 100, b"\x90", b"\xdd\xff\xff\xff\xff", b"[" * 10_000):
        node.folder.peers.write_bytes(raw)
        start_and_stop(node.folder)  # a book is worth nothing: dropped with a warning


def test_the_command_line_says_one_sentence(tmp_path: Path) -> None:
    node = NodeUnderAttack(tmp_path / "n", found("pow", 0, {}), node_key(0))
    node.folder.genesis.write_bytes(b"\xff")
    for arguments in (
        ["node", "run", "--dir", str(tmp_path / "n")],
        ["node", "run", "--dir", str(tmp_path / "nowhere")],
        ["verify", str(node.folder.genesis)],
        ["node", "init", "--dir", str(tmp_path / "m"), "--genesis", str(node.folder.genesis)],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 1, (arguments, done.output, done.exception)
        assert done.output.startswith("Error: "), done.output
        assert "Traceback" not in done.output


@pytest.mark.parametrize("value", ["²", "--5", "-", "9" * 5_000, "", "٣"])
def test_odd_parameters_on_the_command_line(tmp_path: Path, value: str) -> None:
    where = str(tmp_path / "g.json")
    done = CliRunner().invoke(
        main,
        ["genesis", "new", "--engine", "pow", "--param", f"maturity={value}", "--out", where],
    )
    assert done.exit_code in (1, 2), (done.output, done.exception)
    assert isinstance(done.exception, SystemExit), done.exception
