"""``moot chain snapshot`` and ``moot chain prune`` on the folders of stopped nodes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from chain.storage.leveldb import open_leveldb
from moot.cli.network import ask
from moot.client.load import LoadGenerator
from moot.client.node import NodeClient
from moot.node.config import Folder
from tests.moot.cli.conftest import Moot, document
from tests.moot.cli.test_chain import rows
from tests.support.live_node import LiveNode
from wallet.development import development_key


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a node that has made snapshots, stopped."""
    node = LiveNode(tmp_path_factory.mktemp("maker"))
    text = node.folder.config.read_text()
    node.folder.config.write_text(text.replace("every = 1000", "every = 5"))
    with node:
        keys = [development_key(number) for number in range(4)]

        async def pay(client: NodeClient) -> None:
            async with LoadGenerator([node.url], keys, 40) as load:
                await load.run(2.5)
                assert await load.drain(60), load.report()

        ask(node.url, pay)
    return node.folder.path


def fresh(moot: Moot, maker: Path, name: str = "fresh") -> Path:
    moot("node", "init", "--dir", name, "--genesis", maker / "genesis.json")
    return Path(name)


def test_a_saved_snapshot_is_restored_in_another_folder(moot: Moot, maker: Path) -> None:
    status = document(moot("chain", "snapshot", "status", "--dir", maker, "--json"))
    newest = status["snapshots"][-1]
    assert len(status["snapshots"]) == 2 and newest["height"] % 5 == 0
    assert "Snapshot" in moot("chain", "snapshot", "status", "--dir", maker).stdout
    saved = document(moot("chain", "snapshot", "save", "s.moot", "--dir", maker, "--json"))
    assert saved["height"] == newest["height"] and saved["bytes"] == Path("s.moot").stat().st_size
    refused = moot("chain", "snapshot", "save", "s.moot", "--dir", maker, status=1)
    assert "--force" in refused.stderr
    folder = fresh(moot, maker)
    said = moot("chain", "snapshot", "restore", "s.moot", "--dir", folder).stdout
    assert f"begins at height {newest['height']}" in said
    info = document(moot("chain", "info", "--dir", folder, "--json"))
    assert info["height"] == newest["height"] and info["state_root"] == newest["state_root"]
    again = moot("chain", "snapshot", "restore", "s.moot", "--dir", folder, status=1)
    assert "not above what is final here" in again.stderr
    for command in ("verify", "export"):
        words = ["e.moot"] if command == "export" else []
        said = moot("chain", command, *words, "--dir", folder, status=1).stderr
        assert "pruned here" in said


def test_a_damaged_file_is_a_sentence_and_changes_nothing(moot: Moot, maker: Path) -> None:
    moot("chain", "snapshot", "save", "good.moot", "--dir", maker)
    good = Path("good.moot").read_bytes()
    folder = fresh(moot, maker)
    before = rows(folder)
    rng = random.Random(7)
    bad = [good[:cut] for cut in (0, 5, 14, 20, 400, len(good) // 2, len(good) - 1)]
    for _ in range(25):
        at = rng.randrange(len(good))
        bad.append(good[:at] + bytes([good[at] ^ 1 << rng.randrange(8)]) + good[at + 1 :])
    bad.append(good + b"x")
    for number, raw in enumerate(bad):
        Path("bad.moot").write_bytes(raw)
        result = moot("chain", "snapshot", "restore", "bad.moot", "--dir", folder, status=1)
        assert result.stderr.startswith("Error: ") and "Traceback" not in result.stderr
        assert "bad.moot" in result.stderr, number
        assert rows(folder) == before, result.stderr
    moot("chain", "snapshot", "restore", "good.moot", "--dir", folder)


def test_another_chains_snapshot_is_refused(moot: Moot, maker: Path, tmp_path: Path) -> None:
    moot("chain", "snapshot", "save", "s.moot", "--dir", maker)
    (tmp_path / "other").mkdir()
    other = LiveNode(tmp_path / "other").folder.path
    said = moot("chain", "snapshot", "restore", "s.moot", "--dir", other, status=1).stderr
    assert "another chain" in said


def test_a_node_without_a_snapshot_and_a_chain_without_finality_say_so(
    moot: Moot, maker: Path, tmp_path: Path
) -> None:
    folder = fresh(moot, maker)
    said = moot("chain", "snapshot", "save", "s.moot", "--dir", folder, status=1).stderr
    assert "has made no snapshot yet" in said
    (tmp_path / "worked").mkdir()
    worked = LiveNode(tmp_path / "worked", "pow").folder.path
    said = moot("chain", "snapshot", "save", "s.moot", "--dir", worked, status=1).stderr
    assert "nothing is ever final" in said
    assert not Path("s.moot").exists()


def test_pruning_gives_room_back_and_keeps_the_state(moot: Moot, maker: Path) -> None:
    shutil.copytree(maker, "copy")
    before = document(moot("chain", "info", "--dir", "copy", "--json"))
    facts = document(moot("chain", "prune", "--keep", "4", "--dir", "copy", "--json"))
    assert facts["bodies_from"] == before["finalized_height"] - 3
    assert facts["bytes_after"] < facts["bytes_before"]
    after = document(moot("chain", "info", "--dir", "copy", "--json"))
    assert {**after, "size_bytes": 0} == {**before, "size_bytes": 0}
    status = document(moot("chain", "snapshot", "status", "--dir", "copy", "--json"))
    assert status["bodies_from"] == facts["bodies_from"] and status["heads_from"] == 1
    store = open_leveldb(Folder(Path("copy")).database, create=False)
    try:
        heights = {int.from_bytes(key[1:9], "big") for key, _ in store.scan(b"B")}
    finally:
        store.close()
    assert min(heights - {0}) == facts["bodies_from"]
    assert "no option" not in moot("chain", "prune", "--dir", "copy", status=2).stderr


def test_pruning_by_hand_says_where_nobody_could_join(moot: Moot, maker: Path) -> None:
    shutil.copytree(maker, "copy")
    status = document(moot("chain", "snapshot", "status", "--dir", "copy", "--json"))
    final, newest = status["finalized_height"], status["snapshots"][-1]["height"]
    leads_on = str(final - newest + 1)
    assert not moot("chain", "prune", "--keep", leads_on, "--dir", "copy").stderr
    moot("chain", "snapshot", "save", "s.moot", "--dir", "copy")
    moot("chain", "export", "e.moot", "--dir", maker)
    folder = fresh(moot, maker)  # it has the blocks, and no snapshot
    moot("chain", "import", "e.moot", "--dir", folder)
    said = moot("chain", "prune", "--keep", "1", "--dir", folder).stderr
    assert "nobody can join by this one alone" in said


def test_where_a_branch_of_any_length_may_win_nothing_is_pruned(moot: Moot, tmp_path: Path) -> None:
    (tmp_path / "side").mkdir()
    folder = LiveNode(tmp_path / "side", "gossip").folder.path
    said = moot("chain", "prune", "--keep", "1", "--dir", folder, status=1).stderr
    assert "a branch of any length may win" in said
