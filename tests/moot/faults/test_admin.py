"""``/moot/admin/links`` and ``/moot/devnet``: who may, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moot.client.errors import NodeRefused
from moot.client.node import NodeClient
from moot.node.config import RestSection
from tests.support.one_node import KEYS, OneNode

TOKEN = "f00d" * 16
PATH, FAULT = "/moot/admin/links", "/moot/devnet/fault"


def section(tmp_path: Path) -> RestSection:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return RestSection(port=0, admin_token_file=str(tmp_path / "token"))


async def refused(client: NodeClient, path: str, body: Any) -> tuple[int, str]:
    with pytest.raises(NodeRefused) as caught:
        await client.post(path, body, dict[str, Any])
    return caught.value.status, caught.value.code


async def test_links_are_cut_only_with_the_token(tmp_path: Path) -> None:
    async with OneNode(tmp_path, rest=section(tmp_path)) as node:
        blocked = [node.show(KEYS[1].address)]
        for token in (None, "", "wrong", TOKEN[:-1], TOKEN + "0"):
            async with NodeClient(node.url, token=token) as stranger:
                answer = await refused(stranger, PATH, {"blocked": blocked})
                assert answer == (401, "wrong-token")
        async with NodeClient(node.url, token=TOKEN) as admin:
            answer = await admin.post(PATH, {"blocked": blocked}, dict[str, Any])
            assert answer == {"blocked": blocked, "peers": 0}
            in_hex = {"blocked": [KEYS[1].public_key.hex()]}
            assert (await admin.post(PATH, in_hex, dict[str, Any]))["blocked"] == blocked
            assert await refused(admin, PATH, {"blocked": ["nobody"]}) == (400, "malformed-key")
            assert await refused(admin, PATH, {"blocked": 7}) == (400, "malformed-json")
            assert await refused(admin, PATH, {"keys": []}) == (400, "malformed-json")


async def test_a_cut_key_is_not_admitted_until_the_list_is_empty(tmp_path: Path) -> None:
    async with OneNode(tmp_path) as node:
        admit, key = node.runtime._admit, KEYS[1].public_key
        assert admit(key) is None
        node.runtime.cut_links([key.hex()])
        assert admit(key) == "the operator has cut this link"
        assert admit(KEYS[2].public_key) is None
        node.runtime.cut_links([])
        assert admit(key) is None


async def test_without_a_token_file_or_a_devnet_there_is_nothing_to_ask(tmp_path: Path) -> None:
    async with OneNode(tmp_path) as node:
        assert await refused(node.client, PATH, {"blocked": []}) == (403, "no-token-set")
        body = {"action": "kill", "nodes": ["node1"]}
        assert await refused(node.client, FAULT, body) == (404, "no-devnet")
        answer = await node.client.get("/moot/devnet", dict[str, Any])
        assert answer == {
            "sentence": "this node was not started by `moot devnet`",
            "nodes": [],
        }


async def test_other_networks_have_none_of_it(tmp_path: Path) -> None:
    cases: list[tuple[str, Any]] = [
        (PATH, {"blocked": []}),
        (FAULT, {"action": "heal", "nodes": []}),
    ]
    async with (
        OneNode(tmp_path, network="test", rest=section(tmp_path)) as node,
        NodeClient(node.url, token=TOKEN) as admin,
    ):
        for path, body in cases:
            assert await refused(admin, path, body) == (404, "development-only")


async def test_a_devnet_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    control = tmp_path / "control.json"
    rest = RestSection(port=0, devnet_control=str(control))
    async with OneNode(tmp_path, rest=rest) as node:
        body = {"action": "heal", "nodes": []}
        assert await refused(node.client, FAULT, body) == (404, "no-devnet")
        control.write_text('{"url": "http://127.0.0.1:1", "token": "x", "pid": 1}')
        assert await refused(node.client, FAULT, body) == (503, "devnet-gone")
        control.write_text("nonsense")
        assert await refused(node.client, FAULT, body) == (404, "no-devnet")
