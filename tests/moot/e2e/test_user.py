"""As a user does it: the real command, a real network, proofs that stand without either."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from moot.client.node import NodeClient
from tests.support.real_network import RealNetwork

ROOT = Path(__file__).parents[3]


class User:
    """Somebody with a terminal: a home for wallets, a password file, a node to speak to."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "password").write_text("a password\n")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MOOT_")},
            "PYTHONPATH": str(ROOT),
            "MOOT_HOME": str(folder / "home"),
            "MOOT_PASSWORD_FILE": str(folder / "password"),
            "MOOT_NODE": url,
        }

    async def types(self, *words: str, status: int = 0) -> str:
        """Runs ``moot WORDS``; what it printed (for status 0), or its complaint."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "moot.cli", *words),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == status, f"{words}\n{output.decode()}\n{errors.decode()}"
        return (output if status == 0 else errors).decode()

    async def asks(self, *words: str) -> Any:
        """The JSON document that ``moot WORDS --json`` prints."""
        return json.loads(await self.types(*words, "--json"))

    def keeps(self, name: str, proof: dict[str, Any]) -> None:
        """A proof as a file."""
        (self.folder / name).write_text(json.dumps(proof))


@pytest.mark.slow
async def test_a_payment_and_its_proofs_outlive_the_network(tmp_path: Path) -> None:
    async with RealNetwork(tmp_path / "net", "pbft", 4) as network:
        user = User(tmp_path, network.plan.urls()[0])
        words = await user.types("wallet", "new", "alice", "--light")
        assert "WRITE THESE WORDS DOWN" in words
        bob = await user.asks("wallet", "new", "bob", "--light")
        given = await user.asks("wallet", "faucet", "alice")
        assert given["state"] == "final"
        sent = await user.asks("wallet", "send", "alice", "bob", "1.5", "--memo", "for lunch")
        assert sent["state"] == "final"
        owned = {
            a["wallet"]: a["balance"] for a in (await user.asks("wallet", "balance"))["accounts"]
        }
        assert owned == {"bob": 150_000_000, "alice": given["amount"] - 150_000_000 - sent["fee"]}
        entries = (await user.asks("wallet", "history", "alice"))["entries"]
        assert [entry["txid"] for entry in entries] == [sent["txid"], given["txid"]]
        assert (await user.asks("node", "status"))["peers"] == 3
        # Another node than the one that took the payment proves it.
        await network.wait_final(sent["height"], [3], 30)
        async with NodeClient(network.plan.urls()[3]) as node:
            user.keeps("payment.json", await node.transaction_proof(sent["txid"]))
            user.keeps("block.json", await node.block_proof(sent["block"]))
            user.keeps("account.json", await node.account_proof(bob["address"], sent["block"]))
    chain = ("--chain-id", sent["chain_id"])
    assert "cannot be reached" in await user.types("node", "status", status=1)
    assert "150000000 base units to" in await user.types("verify", "payment.json", *chain)
    verdict = await user.asks("verify", "block.json", *chain)
    assert verdict["height"] == sent["height"] and verdict["block"] == sent["block"]
    assert "has 150000000 base units" in await user.types("verify", "account.json", *chain)
    await user.types("verify", "block.json", "--chain-id", "00" * 32, status=1)
    richer = json.loads((tmp_path / "account.json").read_text())
    richer["account"]["balance"] *= 10
    user.keeps("account.json", richer)
    assert "claims other values" in await user.types("verify", "account.json", status=1)
