"""``moot chain`` on the folders of stopped nodes, sound ones and damaged ones."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from chain import codec
from chain.ledger.disk import ResultRow, body_key, proof_key, result_key
from chain.storage.leveldb import open_leveldb
from moot.cli.network import ask
from moot.client.load import LoadGenerator
from moot.client.node import NodeClient
from moot.node.config import Folder
from moot.node.judge import block_at
from tests.moot.cli.conftest import Moot, document
from tests.support.live_node import LiveNode
from wallet.development import development_key


class Stopped(NamedTuple):
    """A node's folder after some payments, and where its chain ended."""

    path: Path
    height: int
    head: str


def stopped_after_payments(path: Path, engine: str) -> Stopped:
    node = LiveNode(path, engine)
    with node:
        keys = [development_key(number) for number in range(4)]

        async def pay(client: NodeClient) -> None:
            async with LoadGenerator([node.url], keys, 40) as load:
                await load.run(1)
                assert await load.drain(60), load.report()

        ask(node.url, pay)
        status = ask(node.url, NodeClient.status)
    return Stopped(node.folder.path, status.finalized.height, status.finalized.id)


@pytest.fixture(scope="session")
def decided(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return stopped_after_payments(tmp_path_factory.mktemp("decided"), "pbft")


@pytest.fixture(scope="session")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return stopped_after_payments(tmp_path_factory.mktemp("worked"), "pow")


@pytest.fixture
def copy(decided: Stopped, tmp_path: Path) -> Path:
    """The PBFT node's folder, to be damaged."""
    shutil.copytree(decided.path, tmp_path / "copy")
    return tmp_path / "copy"


def rows(folder: Path) -> list[tuple[bytes, bytes]]:
    """All that the database holds."""
    store = open_leveldb(Folder(folder).database, create=False)
    try:
        return list(store.scan(b""))
    finally:
        store.close()


def fresh(moot: Moot, like: Path, name: str) -> Path:
    """A new node's folder of the same chain."""
    moot("node", "init", "--dir", name, "--genesis", like / "genesis.json")
    return Path(name)


def test_info_and_verify_tell_what_a_sound_folder_holds(
    moot: Moot, decided: Stopped, worked: Stopped
) -> None:
    for node in (decided, worked):
        before = rows(node.path)
        facts = document(moot("chain", "info", "--dir", node.path, "--json"))
        assert facts["height"] >= node.height and facts["finalized_height"] >= node.height
        report = document(moot("chain", "verify", "--dir", node.path, "--json"))
        assert report["ok"] and report["blocks"] == report["height"] >= node.height
        assert report["transactions"] == 40
        assert report["proofs"] == (report["height"] if node is decided else 0)
        if node is decided:
            assert report["state_root"] == facts["state_root"]
        assert rows(node.path) == before, "looking changes nothing"
    assert moot("chain", "verify", "--dir", decided.path).stdout.startswith("sound: ")
    assert "on disk" in moot("chain", "info", "--dir", decided.path).stdout


def test_a_chain_travels_as_a_file(
    moot: Moot, decided: Stopped, worked: Stopped, tmp_path: Path
) -> None:
    for name, node in (("d", decided), ("w", worked)):
        made = document(moot("chain", "export", f"{name}.chain", "--dir", node.path, "--json"))
        assert (tmp_path / f"{name}.chain").stat().st_size == made["bytes"]
        folder = fresh(moot, node.path, name)
        taken = document(moot("chain", "import", f"{name}.chain", "--dir", folder, "--json"))
        assert taken["imported"] == taken["height"] == made["height"] >= node.height
        again = moot("chain", "import", f"{name}.chain", "--dir", folder)
        assert again.stdout.startswith("0 blocks imported")
        assert document(moot("chain", "verify", "--dir", folder, "--json"))["ok"]
        there = document(moot("chain", "info", "--dir", folder, "--json"))
        assert there["height"] == made["height"]


def test_a_node_starts_from_what_was_imported(
    moot: Moot, decided: Stopped, worked: Stopped
) -> None:
    for name, node in (("d", decided), ("w", worked)):
        moot("chain", "export", f"{name}.chain", "--dir", node.path)
        folder = fresh(moot, node.path, name)
        moot("chain", "import", f"{name}.chain", "--dir", folder)
        with LiveNode.at(folder) as started:
            status = ask(started.url, NodeClient.status)
            assert status.finalized.height >= node.height
            found = ask(started.url, partial(NodeClient.block_id_at, height=node.height))
            assert found == node.head


def test_an_import_goes_on_where_one_ended(moot: Moot, decided: Stopped, tmp_path: Path) -> None:
    part = document(moot("chain", "export", "p", "--dir", decided.path, "--to", "2", "--json"))
    assert part["height"] == 2
    moot("chain", "export", "whole", "--dir", decided.path)
    folder = fresh(moot, decided.path, "n")
    raw = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(raw[: len(raw) * 2 // 3])
    refused = moot("chain", "import", "cut", "--dir", folder, status=1)
    assert "are imported" in refused.stderr and "cut off at height" in refused.stderr
    reached = document(moot("chain", "info", "--dir", folder, "--json"))["height"]
    assert 0 < reached < decided.height
    done = document(moot("chain", "import", "whole", "--dir", folder, "--json"))
    assert done["imported"] == done["height"] - reached and done["height"] >= decided.height


def test_a_changed_file_is_refused_and_nothing_is_lost(
    moot: Moot, decided: Stopped, tmp_path: Path
) -> None:
    moot("chain", "export", "whole", "--dir", decided.path)
    folder = fresh(moot, decided.path, "n")
    raw = bytearray((tmp_path / "whole").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "changed").write_bytes(raw)
    refused = moot("chain", "import", "changed", "--dir", folder, status=1)
    assert refused.stderr.count("Error: changed: ") == 1
    reached = document(moot("chain", "info", "--dir", folder, "--json"))["height"]
    assert reached < decided.height
    moot("chain", "import", "whole", "--dir", folder)
    assert document(moot("chain", "verify", "--dir", folder, "--json"))["height"] > reached


def test_another_chains_file_and_what_is_no_file_are_refused(
    moot: Moot, decided: Stopped, worked: Stopped, tmp_path: Path
) -> None:
    moot("chain", "export", "d", "--dir", decided.path)
    other = fresh(moot, worked.path, "w")
    assert "another chain" in moot("chain", "import", "d", "--dir", other, status=1).stderr
    (tmp_path / "no").write_text("not a chain")
    assert "no file of" in moot("chain", "import", "no", "--dir", other, status=1).stderr
    taken = moot("chain", "export", "d", "--dir", decided.path, status=1)
    assert "--force" in taken.stderr
    moot("chain", "export", "d", "--dir", decided.path, "--force")
    assert sorted(path.name for path in tmp_path.glob(".d.*")) == []


def test_a_running_nodes_database_is_left_alone(moot: Moot, live: LiveNode) -> None:
    for command in ("verify", "info"):
        refused = moot("chain", command, "--dir", live.folder.path, status=1)
        assert "is open already: stop the process that has it" in refused.stderr
    refused = moot("chain", "export", "x", "--dir", live.folder.path, status=1)
    assert "is open already" in refused.stderr and not Path("x").exists()


def change_row(folder: Path, key: bytes, value: bytes | None) -> None:
    store = open_leveldb(Folder(folder).database, create=False)
    store.write([(key, value)], sync=True)
    store.close()


def rows_of(folder: Path, height: int) -> tuple[bytes, bytes, bytes]:
    """Keys of a block's body, proof and result."""
    from moot.cli.chain import reading

    with reading(folder) as judge:
        block, proof = block_at(judge.ledger, height)
    assert proof is not None
    return body_key(height, block.id), proof_key(block.id), result_key(block.id)


def test_verify_finds_a_missing_body_a_wrong_proof_and_wrong_receipts(
    moot: Moot, copy: Path, tmp_path: Path
) -> None:
    body, proof, result = rows_of(copy, 2)
    _, other_proof, _ = rows_of(copy, 3)
    kept = tmp_path / "kept"
    shutil.copytree(copy, kept)

    def verdict() -> str:
        said = moot("chain", "verify", "--dir", copy, status=1).stderr
        shutil.rmtree(copy)
        shutil.copytree(kept, copy)
        return str(said)

    change_row(copy, body, None)
    assert "at height 2" in verdict()
    store = open_leveldb(Folder(kept).database, create=False)
    foreign_proof = store.get(other_proof)
    store.close()
    change_row(copy, proof, foreign_proof)
    assert "at height 2: its proof: " in verdict()
    change_row(copy, result, codec.encode(ResultRow((), ())))
    assert "receipts of block" in verdict()


def test_a_damaged_table_and_a_missing_folder_are_a_sentence(
    moot: Moot, copy: Path, tmp_path: Path
) -> None:
    current = copy / "db" / "CURRENT"
    whole = current.read_text()
    current.write_text("MANIFEST-999999\n")
    damaged = moot("chain", "verify", "--dir", copy, status=1)
    assert "is damaged" in damaged.stderr and "Traceback" not in damaged.stderr
    assert moot("chain", "info", "--dir", "absent", status=2).stderr
    (tmp_path / "empty").mkdir()
    assert "holds no node" in moot("chain", "info", "--dir", "empty", status=1).stderr
    current.write_text(whole)
    (copy / "genesis.json").write_text("{}")
    assert "genesis" in moot("chain", "info", "--dir", copy, status=1).stderr
