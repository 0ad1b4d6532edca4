"""Esplora's answers: how blocks, accounts and receipts show in Bitcoin's shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.hashing import sha256d, show_id
from chain.transaction import BUNDLE, Transfer
from moot.node.rest import context
from tests.support.one_node import COINS, FEE, KEYS, OneNode
from tests.support.rest_api import Api

ZERO = "00" * 32
NOWHERE = b"\x07" + bytes(32)
"""A recipient of a kind that this chain does not know, and that bech32m cannot show."""
FOREVER = "public, max-age=157784630"
SHORT = "public, max-age=10"


def pay(to: int, amount: int) -> Transfer:
    return Transfer(KEYS[to].address, amount)


async def head_id(api: Api) -> str:
    return (await api.get("/api/blocks/tip/hash")).text


async def test_a_payment_is_one_debit_and_a_credit_for_each_transfer(
    node: OneNode, api: Api
) -> None:
    payment = node.sign(KEYS[0], [pay(1, 5), pay(2, 7)])
    await node.final(payment)
    txid, sender = show_id(payment.id), node.show(KEYS[0].address)
    shown = (await api.get(f"/api/tx/{txid}")).value
    assert shown["txid"] == txid
    assert (shown["version"], shown["locktime"], shown["fee"]) == (1, 0, FEE)
    assert (shown["size"], shown["weight"]) == (payment.size, 4 * payment.size)
    (debit,) = shown["vin"]
    assert (debit["txid"], debit["vout"], debit["is_coinbase"]) == (ZERO, 0, False)
    assert debit["prevout"]["scriptpubkey_address"] == sender
    assert debit["prevout"]["value"] == 12 + FEE
    assert debit["witness"] == [payment.witness[0].hex()]
    assert [(o["scriptpubkey_address"], o["value"]) for o in shown["vout"]] == [
        (node.show(KEYS[1].address), 5),
        (node.show(KEYS[2].address), 7),
    ]
    # A script that Bitcoin's parsers can take apart: version, push of 32 bytes, the key.
    assert shown["vout"][0]["scriptpubkey"] == "0020" + KEYS[1].public_key.hex()
    assert shown["status"]["confirmed"] and shown["status"]["block_height"] == 1
    status = (await api.get(f"/api/tx/{txid}/status")).value
    assert status == shown["status"]
    assert status["block_hash"] == await head_id(api)
    assert (await api.get(f"/api/tx/{txid}/hex")).text == payment.raw.hex()
    assert (await api.get(f"/api/tx/{txid}/raw")).body == payment.raw


async def test_what_failed_shows_as_its_fee_and_no_credit(node: OneNode, api: Api) -> None:
    failed = node.sign(KEYS[0], [pay(1, 5), pay(2, 0)])
    partly = node.sign(KEYS[1], [pay(2, 9), Transfer(NOWHERE, 3)], mode=BUNDLE)
    await node.final(failed, partly)
    shown = (await api.get(f"/api/tx/{show_id(failed.id)}")).value
    assert shown["vin"][0]["prevout"]["value"] == FEE == shown["fee"]
    assert shown["vout"] == []
    shown = (await api.get(f"/api/tx/{show_id(partly.id)}")).value
    assert shown["vin"][0]["prevout"]["value"] == 9 + FEE
    assert [output["value"] for output in shown["vout"]] == [9]
    waiting = node.sign(KEYS[2], [Transfer(NOWHERE, 3)], nonce=5)
    await api.post("/api/tx", waiting.raw.hex())
    (odd,) = (await api.get(f"/api/tx/{show_id(waiting.id)}")).value["vout"]
    assert "scriptpubkey_address" not in odd and odd["value"] == 3
    facts = (await api.get(f"/moot/tx/{show_id(waiting.id)}")).value
    assert facts["actions"][0]["recipient"] == NOWHERE.hex()


async def test_a_waiting_transaction_has_no_place(node: OneNode, api: Api) -> None:
    queued = node.sign(KEYS[0], [pay(1, 5)], nonce=3)
    assert (await api.post("/api/tx", queued.raw.hex())).text == show_id(queued.id)
    shown = (await api.get(f"/api/tx/{show_id(queued.id)}")).value
    assert shown["status"] == {"confirmed": False}
    assert shown["vin"][0]["prevout"]["value"] == 5 + FEE and shown["vout"][0]["value"] == 5
    for path in ("merkle-proof", "merkleblock-proof"):
        await api.get(f"/api/tx/{show_id(queued.id)}/{path}", 404)
    overview = (await api.get("/api/mempool")).value
    assert (overview["count"], overview["vsize"]) == (1, queued.size)
    assert overview["total_fee"] == FEE
    ((rate, size),) = overview["fee_histogram"]
    assert 0.85 * FEE / queued.size <= rate <= FEE / queued.size and size == queued.size
    assert (await api.get("/api/mempool/txids")).value == [show_id(queued.id)]
    recent = await api.get("/api/mempool/recent")
    expected = {"txid": show_id(queued.id), "fee": FEE, "vsize": queued.size, "value": 5}
    assert recent.value == [expected]
    assert recent.headers["Cache-Control"] == "public, max-age=5"
    address = node.show(KEYS[1].address)
    stats = (await api.get(f"/api/address/{address}")).value
    assert stats["mempool_stats"]["funded_txo_sum"] == 5
    waiting = (await api.get(f"/api/address/{address}/txs/mempool")).value
    assert waiting == [shown] == (await api.get(f"/api/address/{address}/txs")).value[:1]


async def test_the_manifest_is_the_coinbase(node: OneNode, api: Api) -> None:
    payment = node.sign(KEYS[0], [pay(1, 5)])
    await node.final(payment)
    block_id = await head_id(api)
    block = node.core.ledger.block(node.core.ledger.head())
    assert block is not None
    txids = (await api.get(f"/api/block/{block_id}/txids")).value
    assert txids == [show_id(sha256d(block.manifest.raw)), show_id(payment.id)]
    shown = (await api.get(f"/api/block/{block_id}/txs")).value
    assert [each["txid"] for each in shown] == txids
    coinbase = shown[0]
    (paid_in,) = coinbase["vin"]
    assert (paid_in["is_coinbase"], paid_in["prevout"]) == (True, None)
    assert (paid_in["txid"], paid_in["vout"]) == (ZERO, 0xFFFFFFFF)
    # The fee went to whom the block names.
    assert [(o["scriptpubkey_address"], o["value"]) for o in coinbase["vout"]] == [
        (node.show(node.key.address), FEE)
    ]
    assert (await api.get(f"/api/tx/{txids[0]}")).value == coinbase
    assert (await api.get(f"/api/tx/{txids[0]}/hex")).text == block.manifest.raw.hex()
    assert (await api.get(f"/api/tx/{txids[0]}/merkle-proof")).value["pos"] == 0
    facts = (await api.get(f"/api/block/{block_id}")).value
    assert (facts["tx_count"], facts["height"], facts["size"]) == (2, 1, len(block.raw))
    assert facts["bits"] == facts["nonce"] == facts["difficulty"] == 0
    assert (await api.get(f"/api/block/{block_id}/txid/1")).text == txids[1]
    await api.get(f"/api/block/{block_id}/txid/2", 404)
    assert (await api.get(f"/api/block/{block_id}/raw")).body == block.raw
    assert (await api.get(f"/api/v1/block/{block_id}")).value == facts


async def test_blocks_are_paged_and_cached_for_long_once_deep(node: OneNode, api: Api) -> None:
    for _ in range(12):
        await node.final(node.sign(KEYS[0], [pay(1, 5)]))
    newest = (await api.get("/api/blocks")).value
    assert [block["height"] for block in newest] == list(range(12, 2, -1))
    assert [b["height"] for b in (await api.get("/api/blocks/3")).value] == [3, 2, 1, 0]
    assert (await api.get("/api/blocks/999")).value == newest
    assert (await api.get("/api/v1/blocks/3")).value == (await api.get("/api/blocks/3")).value
    genesis = (await api.get("/api/blocks/0")).value[0]
    assert genesis["previousblockhash"] is None
    assert (
        (await api.get("/api/block-height/0")).text
        == genesis["id"]
        == show_id(node.core.ledger.chain_id)
    )
    times = sorted(block["timestamp"] for block in newest)
    assert times[0] <= newest[0]["mediantime"] <= newest[0]["timestamp"]
    deep, shallow = newest[-1]["id"], newest[0]["id"]
    assert (await api.get("/api/block-height/2")).headers["Cache-Control"] == FOREVER
    for path in ("", "/header", "/txids", "/txs"):
        found = (await api.get(f"/api/block/{deep}{path}")).headers["Cache-Control"]
        assert found == SHORT  # nine blocks on top
        found = (await api.get(f"/api/block/{genesis['id']}{path}")).headers["Cache-Control"]
        assert found == FOREVER
    status = (await api.get(f"/api/block/{deep}/status")).value
    assert status == {"in_best_chain": True, "height": 3, "next_best": newest[-2]["id"]}
    assert (await api.get(f"/api/block/{shallow}/status")).value["next_best"] is None
    assert (await api.get("/api/blocks/tip/height")).text == "12"


async def test_transactions_of_a_block_come_25_at_a_time(node: OneNode, api: Api) -> None:
    first = node.core.mempool.next_nonce(KEYS[0].address, node.core.ledger)
    many = [node.sign(KEYS[0], [pay(1, 5)], nonce=first + n) for n in range(30)]
    await node.final(*many)
    located = node.core.ledger.transaction(many[-1].id)
    assert located is not None and located.position >= 27, "one block holds them (nearly) all"
    block_id = show_id(located.block_id)
    txids = (await api.get(f"/api/block/{block_id}/txids")).value
    pages = [(await api.get(f"/api/block/{block_id}/txs/{start}")).value for start in (0, 25)]
    assert [len(page) for page in pages] == [25, len(txids) - 25]
    assert [each["txid"] for page in pages for each in page] == txids
    await api.get(f"/api/block/{block_id}/txs/24", 400)
    await api.get(f"/api/block/{block_id}/txs/50", 404)


async def test_an_address_pages_through_its_whole_history(node: OneNode, api: Api) -> None:
    first = node.core.mempool.next_nonce(KEYS[0].address, node.core.ledger)
    many = [node.sign(KEYS[0], [pay(1, 5)], nonce=first + n) for n in range(60)]
    await node.final(*many)
    address = node.show(KEYS[1].address)
    seen = [each.txid async for each in node.client.address_history(address)]
    genesis = node.core.ledger.genesis_block.manifest.leaf
    assert seen == [*(show_id(each.id) for each in reversed(many)), show_id(genesis)]
    page = (await api.get(f"/api/address/{address}/txs/chain")).value
    assert [each["txid"] for each in page] == seen[:25]
    rest = (await api.get(f"/api/address/{address}/txs/chain/{seen[49]}")).value
    assert [each["txid"] for each in rest] == seen[50:]
    # Rewards lead on to the next page too.
    producer = node.show(node.key.address)
    mine = (await api.get(f"/api/address/{producer}/txs/chain")).value
    assert mine and mine[0]["vin"][0]["is_coinbase"]
    assert (await api.get(f"/api/address/{producer}/txs/chain/{mine[-1]['txid']}")).value == []
    stats = (await api.get(f"/api/address/{address}")).value["chain_stats"]
    assert stats == {
        "tx_count": 61,
        "funded_txo_count": 61,
        "funded_txo_sum": COINS + 300,
        "spent_txo_count": 0,
        "spent_txo_sum": 0,
    }
    spent = (await api.get(f"/api/address/{node.show(KEYS[0].address)}")).value["chain_stats"]
    assert (spent["spent_txo_count"], spent["spent_txo_sum"]) == (60, 60 * (5 + FEE))


async def test_broadcasting(node: OneNode, api: Api) -> None:
    queued = node.sign(KEYS[0], [pay(1, 5)], nonce=2)
    for _ in range(2):  # the same again does no harm
        assert (await api.post("/api/tx", f" {queued.raw.hex()}\n")).text == show_id(queued.id)
    for body, word in (
        ("", "malformed"),
        ("xyz", "malformed"),
        ("\u00e9", "hexadecimal"),
        ("00", "malformed"),
        (queued.raw.hex() + "00", "malformed"),
        (node.sign(KEYS[1], [pay(0, 1)], fee=1).raw.hex(), "fee-below-minimum"),
    ):
        refused = await api.post("/api/tx", body, 400)
        assert word in refused.text and "\n" not in refused.text, refused.text
        assert refused.headers["Content-Type"].startswith("text/plain")
    good = node.sign(KEYS[2], [pay(0, 1)], nonce=1)
    bad = node.sign(KEYS[3], [pay(0, 1)], fee=1)
    answer = (await api.post("/api/txs/package", [good.raw.hex()])).value
    assert answer["package_msg"] == "success"
    assert answer["tx-results"][show_id(good.id)]["fees"] == {"base": FEE}
    answer = (await api.post("/api/txs/package", [good.raw.hex(), bad.raw.hex()])).value
    assert answer["package_msg"] == "transaction failed"
    assert "fee-below-minimum" in answer["tx-results"][show_id(bad.id)]["error"]
    await api.post("/api/txs/package", [], 400)
    await api.post("/api/txs/package", ["00"] * 26, 400)
    await api.post("/api/txs/package", ["zz"], 400)
    await api.post("/api/txs/package", "[]", 415)


async def test_fee_estimates_rise_when_blocks_fill(
    node: OneNode, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "HISTOGRAM_LIFE_MS", -1)
    estimates = (await api.get("/api/fee-estimates")).value
    assert list(estimates) == [*map(str, range(1, 26)), "144", "504", "1008"]
    floor = node.core.ledger.genesis.limits.fee_per_kilobyte_min / 1000
    assert set(estimates.values()) == {floor}
    # More than one block's worth waits: nothing of it is executable, a nonce is missing.
    block_size = node.core.ledger.genesis.limits.block_size_max
    memo = bytes(256)
    size, number = 0, 0
    while size <= block_size:
        actions = [Transfer(KEYS[1].address, 1, memo)] * 100
        key = KEYS[number % len(KEYS)]
        queued = node.sign(key, actions, nonce=1 + number // len(KEYS), fee=1_000_000)
        assert node.core.submit([queued]) == [None]
        size, number = size + queued.size, number + 1
    estimates = (await api.get("/api/fee-estimates")).value
    rate = 1_000_000 / queued.size
    assert 0.85 * rate < estimates["1"] <= rate + 1 and estimates["2"] == floor
    recommended = (await api.get("/api/v1/fees/recommended")).value
    assert recommended["fastestFee"] == estimates["1"]
    assert recommended["hourFee"] == recommended["minimumFee"] == floor
    blocks = (await api.get("/api/v1/fees/mempool-blocks")).value
    assert len(blocks) == 2 and blocks[0]["nTx"] + blocks[1]["nTx"] == number
    assert blocks[0]["blockVSize"] <= block_size


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/tx/zz", 400),
        (f"/api/tx/{'z' * 64}", 400),
        (f"/api/tx/{ZERO}", 404),
        (f"/api/tx/{ZERO}/status", 404),
        (f"/api/tx/{ZERO}/hex", 404),
        (f"/api/tx/{ZERO}/merkle-proof", 404),
        (f"/api/tx/{ZERO}/outspend/0", 404),
        (f"/api/tx/{ZERO}/outspends", 404),
        ("/api/block/00", 400),
        (f"/api/block/{ZERO}", 404),
        (f"/api/block/{ZERO}/status", 404),
        (f"/api/block/{ZERO}/txs", 404),
        ("/api/block-height/-1", 400),
        ("/api/block-height/1e3", 400),
        ("/api/block-height/\u0663", 400),
        (f"/api/block-height/{'9' * 15}", 404),
        (f"/api/block-height/{'9' * 5000}", 400),
        ("/api/blocks/x", 400),
        ("/api/address/x", 400),
        (f"/api/address/{'q' * 500}/txs", 400),
        ("/api/address/x/utxo", 404),
        ("/api/address-prefix/rmoot1q", 404),
        (f"/api/scripthash/{ZERO}", 404),
        (f"/api/scripthash/{ZERO}/txs", 404),
        (f"/api/scripthash/{ZERO}/utxo", 404),
        ("/api/nothing", 404),
    ],
)
async def test_refusals_are_plain_sentences(api: Api, path: str, status: int) -> None:
    refused = await api.get(path, status)
    assert refused.headers["Content-Type"].startswith("text/plain")
    assert 10 < len(refused.text) < 200 and "Traceback" not in refused.text
    assert refused.headers["Cache-Control"] == "no-store"
    # A page elsewhere may read why.
    assert refused.headers["Access-Control-Allow-Origin"] == "*"


async def test_a_block_that_was_left_says_so(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        work = node.mine
        first = await work()
        await work()
        # Three blocks on genesis outweigh the two.
        tip = node.core.ledger.chain_id
        for _ in range(3):
            tip = await work(tip)
        assert await head_id(api) == show_id(tip)
        status = (await api.get(f"/api/block/{show_id(first)}/status")).value
        assert status == {"in_best_chain": False, "height": None, "next_best": None}
        shown = (await api.get(f"/api/block/{show_id(first)}")).value
        assert shown["height"] == 1
        side = (await api.get(f"/api/block/{show_id(first)}/txs")).value
        assert not side[0]["status"]["confirmed"]
        await api.get(f"/api/tx/{side[0]['txid']}", 404)
        facts = (await api.get(f"/moot/block/{show_id(first)}")).value
        assert (facts["status"], facts["following"]) == ("side", None)
