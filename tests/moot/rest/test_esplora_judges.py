"""Esplora's answers before judges written by others: pymempool and python-bitcoinlib."""

from __future__ import annotations

import asyncio
from io import BytesIO
from pathlib import Path

import pytest
from bitcoin.core import CBlock, CBlockHeader, CheckProofOfWork, Hash, b2lx, lx
from bitcoin.core.serialize import (
    VarIntSerializer,
    uint256_from_compact,
    uint256_from_str,
)
from hypothesis import given
from hypothesis import strategies as st
from pymempool import MempoolAPI, MempoolResponseError

from chain.hashing import sha256, show_id
from chain.header import Header
from chain.merkle import merkle_root
from chain.transaction import Transfer
from moot.client.node import NodeClient
from moot.node.rest.esplora.merkleblock import merkle_block
from tests.support.one_node import KEYS, OneNode
from tests.support.real_network import RealNetwork
from tests.support.rest_api import Api


def leaves_of(proof: bytes) -> tuple[CBlockHeader, bytes, list[bytes]]:
    """BIP37's own walk ("Parsing a partial merkle tree object"): header, root, matched leaves."""
    stream = BytesIO(proof)
    header = CBlockHeader.stream_deserialize(stream)
    total = int.from_bytes(stream.read(4), "little")
    hashes = [stream.read(32) for _ in range(VarIntSerializer.stream_deserialize(stream))]
    flags = stream.read(VarIntSerializer.stream_deserialize(stream))
    assert stream.read() == b""
    bits = [bool(flags[place // 8] >> place % 8 & 1) for place in range(8 * len(flags))]
    used = {"bits": 0, "hashes": 0}
    matched: list[bytes] = []

    def width(height: int) -> int:
        return (total + (1 << height) - 1) >> height

    def walk(height: int, place: int) -> bytes:
        flag = bits[used["bits"]]
        used["bits"] += 1
        if height == 0 or not flag:
            node = hashes[used["hashes"]]
            used["hashes"] += 1
            if height == 0 and flag:
                matched.append(node)
            return node
        left = walk(height - 1, 2 * place)
        right = left
        if 2 * place + 1 < width(height - 1):
            right = walk(height - 1, 2 * place + 1)
            assert left != right
        return Hash(left + right)

    height = 0
    while width(height) > 1:
        height += 1
    root = walk(height, 0)
    assert used["hashes"] == len(hashes) and (used["bits"] + 7) // 8 == len(flags)
    assert not any(bits[used["bits"] :])
    return header, root, matched


@given(st.integers(1, 70), st.data())
def test_any_leaf_of_any_tree_is_proven(count: int, data: st.DataObject) -> None:
    leaves = [sha256(b"%d" % number) for number in range(count)]
    position = data.draw(st.integers(0, count - 1))
    header = Header(1, bytes(32), merkle_root(leaves), 0, 0, 0)
    found, root, matched = leaves_of(merkle_block(header, leaves, position))
    assert found.hashMerkleRoot == root == header.merkle_root
    assert matched == [leaves[position]]


def test_a_tree_of_many_leaves_takes_longer_counts() -> None:
    leaves = [sha256(b"%d" % number) for number in range(1_000)]
    header = Header(1, bytes(32), merkle_root(leaves), 0, 0, 0)
    assert leaves_of(merkle_block(header, leaves, 999))[2] == [leaves[999]]


async def test_bitcoinlib_reads_headers_work_and_merkle_proofs(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        first = await node.mine()
        sent = [node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)], nonce=n) for n in range(6)]
        assert node.core.submit(sent) == [None] * 6
        block_id = show_id(await node.mine())
        facts = (await api.get(f"/api/block/{block_id}")).value
        raw = bytes.fromhex((await api.get(f"/api/block/{block_id}/header")).text)
        header = CBlockHeader.deserialize(raw)
        assert b2lx(header.GetHash()) == block_id == facts["id"]
        assert b2lx(header.hashPrevBlock) == show_id(first) == facts["previousblockhash"]
        assert b2lx(header.hashMerkleRoot) == facts["merkle_root"]
        assert (header.nVersion, header.nTime) == (facts["version"], facts["timestamp"])
        assert (header.nBits, header.nNonce) == (facts["bits"], facts["nonce"])
        target = uint256_from_compact(header.nBits)
        assert uint256_from_str(header.GetHash()) <= target
        assert facts["difficulty"] == pytest.approx(header.difficulty, rel=1e-3)
        with pytest.raises(Exception, match="nBits below minimum work"):
            CheckProofOfWork(header.GetHash(), header.nBits)  # easier than Bitcoin's easiest
        txids = [lx(text) for text in (await api.get(f"/api/block/{block_id}/txids")).value]
        assert CBlock.build_merkle_tree_from_txids(txids)[-1] == header.hashMerkleRoot
        assert facts["tx_count"] == len(txids) == 7
        for position, txid in enumerate(txids):
            proof = (await api.get(f"/api/tx/{b2lx(txid)}/merkle-proof")).value
            assert (proof["block_height"], proof["pos"]) == (2, position)
            level, place = txid, position
            for sibling in map(lx, proof["merkle"]):
                level = Hash(sibling + level if place & 1 else level + sibling)
                place >>= 1
            assert level == header.hashMerkleRoot
            text = (await api.get(f"/api/tx/{b2lx(txid)}/merkleblock-proof")).text
            assert leaves_of(bytes.fromhex(text)) == (header, header.hashMerkleRoot, [txid])


async def test_pymempool_reads_a_real_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with RealNetwork(tmp_path, "pbft", 1, {"heartbeat_ms": 0}) as network:
        url = network.plan.urls()[0]
        async with network.load(50) as load:
            await load.run(0.6)
            assert await load.drain(20)
        async with NodeClient(url) as node:
            status = await node.status()
            txid = (await node.block_txids(status.head.id))[1]
            address = (await node.tx(txid)).vin[0].prevout
        assert address is not None and address.scriptpubkey_address is not None
        await asyncio.to_thread(judge, url, status.head.id, txid, address.scriptpubkey_address)


def judge(url: str, head: str, txid: str, address: str) -> None:
    """Everything that pymempool asks of an Esplora server, and what has no answer here."""
    api = MempoolAPI(f"{url}/api/", rate_limit_per_sec=0, enable_response_cache=False)
    height = api.get_block_tip_height()
    assert height > 0 and api.get_block_tip_hash() == head == api.get_block_height(height)
    block = api.get_block(head)
    assert (block["id"], block["height"]) == (head, height)
    assert block == api.get_block_v1(head) == api.get_blocks()[0] == api.get_blocks_v1()[0]
    assert api.get_blocks(0)[0]["height"] == 0 == api.get_blocks_v1(0)[0]["height"]
    assert b2lx(Hash(bytes.fromhex(str(api.get_block_header(head))))) == head
    assert len(api.get_block_raw(head)) > 80
    assert api.get_block_status(head)["in_best_chain"] is True
    txids = api.get_block_transaction_ids(head)
    assert txid in txids and len(txids) == block["tx_count"]
    assert api.get_block_transaction_id(head, 1) == txids[1]
    transactions = api.get_block_transactions(head)
    assert transactions == api.get_block_transactions(head, 0)
    assert [each["txid"] for each in transactions] == txids[:25]
    transaction = api.get_transaction(txid)
    assert transaction in transactions
    assert api.get_transaction_status(txid) == transaction["status"]
    raw = api.get_transaction_raw(txid)
    raw = raw.encode() if isinstance(raw, str) else raw
    assert raw.hex() == api.get_transaction_hex(txid)
    assert api.get_transaction_merkle_proof(txid)["pos"] == txids.index(txid)
    assert head == b2lx(Hash(bytes.fromhex(api.get_transaction_merkleblock_proof(txid))[:80]))
    found = api.get_address(address)
    assert found["address"] == address and found["chain_stats"]["tx_count"] > 0
    history = api.get_address_transactions(address)
    assert history == api.get_address_transactions_chain(address)
    assert api.get_address_transactions_chain(address, history[0]["txid"])[0] == history[1]
    assert api.get_address_transactions_mempool(address) == []
    assert api.get_mempool()["count"] == 0 == len(api.get_mempool_transactions_ids())
    assert api.get_mempool_recent() == [] == api.get_mempool_blocks_fee()
    assert api.get_recommended_fees()["fastestFee"] >= 1
    assert api.get_recommended_fees_precise() == api.get_recommended_fees()
    for refused in (
        lambda: api.get_address_utxo(address),
        lambda: api.get_transaction_outspend(txid, "0"),
        lambda: api.get_transaction_outspends(txid),
        lambda: api.get_transaction("00" * 32),
        lambda: api.post_transaction("00"),
        lambda: api.post_transaction(api.get_transaction_hex(txid)),
    ):
        with pytest.raises(MempoolResponseError):
            refused()
