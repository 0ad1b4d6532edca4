"""What a node answers about blocks that it does not keep any more."""

from __future__ import annotations

from chain.hashing import show_id
from chain.transaction import Transfer
from tests.support.one_node import KEYS, OneNode
from tests.support.rest_api import Api


async def test_a_pruned_block_is_said_to_be_pruned_and_the_rest_goes_on(
    node: OneNode, api: Api
) -> None:
    for _ in range(8):
        await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
    ledger = node.runtime.core.ledger
    ledger.flush()
    before = (await api.get("/moot/status")).value["keeping"]
    assert (before["bodies_from"], before["heads_from"], before["fetching"]) == (1, 1, None)
    ids = [ledger.id_at(height) for height in range(9)]
    assert ledger.prune(6) == 6
    for swept in (False, True):
        while swept and ledger.sweep():
            pass
        for height, block in enumerate(ids):
            assert block is not None
            status = 410 if 0 < height < 6 else 200
            for path in (
                f"/moot/block/{show_id(block)}",
                f"/moot/block-height/{height}",
                f"/api/block/{show_id(block)}",
                f"/api/block/{show_id(block)}/txids",
                f"/api/block/{show_id(block)}/raw",
            ):
                answer = await api.get(path, status)
                if status == 410:
                    assert "pruned here" in str(answer.text) and "height 6" in str(answer.text)
            assert (await api.get(f"/api/block-height/{height}")).text == show_id(block)
            assert (await api.get(f"/api/block/{show_id(block)}/status")).value["in_best_chain"]
    listed = (await api.get("/api/blocks")).value
    assert [each["height"] for each in listed] == [8, 7, 6]
    history = (await api.get(f"/api/address/{node.show(KEYS[1].address)}/txs")).value
    assert min(each["status"]["block_height"] for each in history if each["vin"]) in (0, 6)
    stats = (await api.get(f"/api/address/{node.show(KEYS[1].address)}")).value["chain_stats"]
    assert stats["funded_txo_count"] == 9, "sums go back to genesis"
    assert (await api.get("/moot/status")).value["keeping"]["bodies_from"] == 6
    unknown = (await api.get(f"/moot/tx/{'0' * 64}", 404)).value
    assert "final nonce" in str(unknown), "it may have been in a block that was pruned"
