"""/moot/...: what an explorer and a wallet ask that no convention has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chain.hashing import show_id
from chain.proof import Evidence
from chain.transaction import BUNDLE, Transfer
from moot.miner.workers import Grinder
from moot.node.config import P2pSection
from moot.node.why import STALLED_MS, explain
from p2p.transport import DialFailure
from tests.support.one_node import COINS, FAUCET, FEE, KEYS, OneNode
from tests.support.rest_api import Api


async def test_a_transaction_says_what_became_of_each_action(node: OneNode, api: Api) -> None:
    mixed = node.sign(
        KEYS[0],
        [Transfer(KEYS[1].address, 5, b"rent"), Transfer(KEYS[2].address, 0)],
        mode=BUNDLE,
    )
    undone = node.sign(
        KEYS[1], [Transfer(KEYS[0].address, 5), Transfer(KEYS[2].address, 0)], fee=FEE + 1
    )
    await node.final(mixed, undone)
    facts = (await api.get(f"/moot/tx/{show_id(mixed.id)}")).value
    assert (facts["kind"], facts["mode"], facts["state"]) == ("transaction", "bundle", "failed")
    assert (facts["ok"], facts["code"]) == (False, "zero-amount")
    assert facts["sentence"] == "a transfer of nothing"
    done, failed = facts["actions"]
    assert done == {
        "kind": "transfer",
        "recipient": node.show(KEYS[1].address),
        "amount": 5,
        "memo": b"rent".hex(),
        "ok": True,
        "code": "",
        "sentence": "",
    }
    assert (failed["ok"], failed["code"]) == (False, "zero-amount")
    facts = (await api.get(f"/moot/tx/{show_id(undone.id)}")).value
    assert [action["code"] for action in facts["actions"]] == ["undone", "zero-amount"]
    assert all(action["sentence"] for action in facts["actions"])
    assert (facts["fee"], facts["fee_charged"], facts["nonce"]) == (FEE + 1, FEE + 1, 0)
    block = (await api.get(f"/moot/block/{facts['block']}")).value
    assert facts["height"] == block["height"] and facts["time_ms"] == block["time_ms"]
    txids = (await api.get(f"/api/block/{facts['block']}/txids")).value
    assert txids[facts["index"]] == show_id(undone.id)


async def test_waiting_and_unknown_transactions(node: OneNode, api: Api) -> None:
    queued = node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)], nonce=1)
    await node.client.submit([queued.raw])
    facts = (await api.get(f"/moot/tx/{show_id(queued.id)}")).value
    assert (facts["state"], facts["ok"], facts["fee_charged"]) == ("pending", None, None)
    assert facts["block"] is None and facts["actions"][0]["ok"] is None
    await api.get(f"/moot/tx/{'00' * 32}", 404)
    await api.get("/moot/tx/zz", 400)


async def test_a_block_by_id_and_by_height(node: OneNode, api: Api) -> None:
    failed = node.sign(KEYS[0], [Transfer(KEYS[1].address, 0)])
    await node.final(failed)
    await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 1)]))
    first = (await api.get("/moot/block-height/1")).value
    assert (await api.get(f"/moot/block/{first['id']}")).value == first
    assert (first["transactions"], first["failed"], first["fees"]) == (1, 1, FEE)
    assert first["credits"] == [{"recipient": node.show(node.key.address), "amount": FEE}]
    assert first["status"] == "final" and first["has_proof"]
    assert first["following"] == (await api.get("/moot/block-height/2")).value["id"]
    reward = (await api.get(f"/moot/tx/{first['reward_txid']}")).value
    assert (reward["kind"], reward["sender"], reward["index"]) == ("reward", None, 0)
    assert [action["amount"] for action in reward["actions"]] == [FEE]
    asked = {"ids": [first["reward_txid"], show_id(failed.id)]}
    states = (await api.post("/moot/transactions/status", asked)).value["statuses"]
    assert [state["state"] for state in states] == ["final", "failed"]
    await api.get(f"/moot/tx/{first['reward_txid']}/proof", 404)
    await api.get("/moot/block-height/3", 404)
    await api.get("/moot/block-height/x", 400)
    await api.get(f"/moot/block/{'00' * 32}", 404)


async def test_search_finds_what_a_person_may_mean(node: OneNode, api: Api) -> None:
    payment = node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)])
    await node.final(payment)
    queued = node.sign(KEYS[2], [Transfer(KEYS[1].address, 5)], nonce=1)
    await node.client.submit([queued.raw])
    block_id, address = show_id(node.core.ledger.head()), node.show(KEYS[3].address)
    for text, kind, target in (
        ("1", "height", f"/block/{block_id}"),
        (f" {block_id.upper()} ", "block", f"/block/{block_id}"),
        (show_id(payment.id), "transaction", f"/tx/{show_id(payment.id)}"),
        (show_id(queued.id), "transaction", f"/tx/{show_id(queued.id)}"),
        (address, "address", f"/address/{address}"),
        (address.upper(), "address", f"/address/{address}"),
        ("2", "none", ""),
        ("9" * 40, "none", ""),
        ("", "none", ""),
        ("<script>", "none", ""),
        ("ff" * 32, "none", ""),
    ):
        found = (await api.get("/moot/search", params={"q": text})).value
        assert found == {"kind": kind, "target": target}, text


async def test_rewards_that_mature_are_told_by_height(tmp_path: Path) -> None:
    async with OneNode(tmp_path, "pow") as node, Api(node.url) as api:
        miner = node.show(node.key.address)
        for _ in range(4):
            await node.mine()
        answer = (await api.get(f"/moot/account/{miner}")).value
        assert [entry["height"] for entry in answer["maturing"]] == [5, 6, 7]
        waiting = sum(entry["amount"] for entry in answer["maturing"])
        stats = (await api.get(f"/api/address/{miner}")).value["chain_stats"]
        assert answer["balance"] + waiting == stats["funded_txo_sum"]
        assert answer["balance"] > 0 and answer["height"] == 4
        typed = await node.client.account(miner)
        assert [entry.height for entry in typed.maturing] == [5, 6, 7]
        other = (await api.get(f"/moot/account/{node.show(KEYS[0].address)}")).value
        assert (other["balance"], other["maturing"]) == (COINS, [])


async def test_a_miner_tells_its_hash_rate(tmp_path: Path) -> None:
    async with (
        OneNode(tmp_path, "pow", mining=True, make_grinder=Grinder) as node,
        Api(node.url) as api,
    ):
        await node.until(lambda: node.runtime.hash_rate() > 0, 60)
        status = (await api.get("/moot/status")).value
        assert status["mining"] and status["hash_rate"] > 0
        assert (await node.client.status()).hash_rate > 0
        assert "moot_mining_hashes_per_second" in (await api.get("/metrics")).text


async def test_a_node_that_does_not_mine_has_no_hash_rate(api: Api) -> None:
    status = (await api.get("/moot/status")).value
    assert (status["mining"], status["hash_rate"]) == (False, 0)


async def test_the_faucet_gives_on_test_networks(tmp_path: Path) -> None:
    async with OneNode(tmp_path, faucet=True) as node, Api(node.url) as api:
        address = node.show(KEYS[0].address)
        gift = (await api.post("/moot/faucet", {"address": address})).value
        ledger = node.core.ledger
        await node.until(lambda: ledger.account(KEYS[0].address).balance == COINS + gift["amount"])
        assert (await api.get(f"/moot/tx/{gift['txid']}")).value["sender"] == node.show(
            FAUCET.address
        )
        await api.post("/moot/faucet", {"address": "x"}, 400)
        statuses = [
            (await api.request("POST", "/moot/faucet", json={"address": address})).status
            for _ in range(70)
        ]
        assert 429 in statuses


async def test_no_faucet_where_none_is_set_up(node: OneNode, api: Api) -> None:
    address = node.show(KEYS[0].address)
    assert (await api.post("/moot/faucet", {"address": address}, 404)).value["code"] == "no-faucet"


async def test_evidence_is_listed_with_who_is_guilty(node: OneNode, api: Api) -> None:
    assert (await api.get("/moot/evidence")).value == {"evidence": []}
    # What the rules of now cannot judge is listed without a name.
    node.core.inbox.evidence.add(Evidence("pbft", b"\x01", b"\x02"), KEYS[0].address)
    (listed,) = (await api.get("/moot/evidence")).value["evidence"]
    assert listed == {"engine": "pbft", "guilty": "", "first": "01", "second": "02"}
    assert "moot_consensus_byzantine_validators 0.0" in (await api.get("/metrics")).text


async def test_a_network_that_moves_or_has_nothing_to_do_is_well(node: OneNode, api: Api) -> None:
    why = (await api.get("/moot/why")).value
    assert why["healthy"] and "no transaction waits" in why["sentences"][0]
    await node.final(node.sign(KEYS[0], [Transfer(KEYS[1].address, 5)]))
    assert (await api.get("/moot/why")).value["healthy"]
    assert (await api.get("/readyz")).value == {"ready": True, "reasons": []}
    assert (await api.get("/healthz")).text == "ok"


async def test_why_asks_the_engine_once_nothing_moved_for_a_while(tmp_path: Path) -> None:
    """A miner-less chain of work: blocks are due, and none comes."""
    async with OneNode(tmp_path, "pow") as node:
        core = node.core
        last = core.idle_since_ms
        engine = core.engine_status().why
        assert engine, "genesis lies a minute back, so the engine misses a block"
        _, sentences = explain(core, last + STALLED_MS)
        assert not set(engine) & set(sentences)
        healthy, sentences = explain(core, last + STALLED_MS + 1)
        assert not healthy and set(engine) <= set(sentences)
        before = core.idle_since_ms
        await node.mine()
        assert core.idle_since_ms > before


async def test_why_names_the_validators_that_are_not_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OneNode(tmp_path) as node:
        monkeypatch.setattr(node.core, "me", KEYS[0].address)
        monkeypatch.setattr(node.core, "peers", {KEYS[1].public_key: object()})
        healthy, sentences = explain(node.core, node.core.idle_since_ms)
        assert healthy and "alone" in sentences[-1] and "Not linked to 1" in sentences[-1]
        monkeypatch.setattr(node.core, "peers", {})
        healthy, sentences = explain(node.core, node.core.idle_since_ms)
        assert not healthy and "No peer is linked" in sentences[0]


async def test_where_only_members_are_admitted_why_says_so_to_an_observer(tmp_path: Path) -> None:
    """p2p.observers = false, and p2p.allow for one who shall follow all the same."""
    closed = P2pSection(port=0, observers=False)
    for name in ("member", "observer"):
        (tmp_path / name).mkdir()
    async with OneNode(tmp_path / "member", p2p=closed) as member:
        dials = P2pSection(port=0, peers=(f"127.0.0.1:{member.runtime.transport.port}",))
        async with OneNode(tmp_path / "observer", p2p=dials, joins=member) as observer:
            transport = observer.runtime.transport
            async with asyncio.timeout(20):
                while not transport.unlinked():  # noqa: ASYNC110 (nothing tells of it)
                    await asyncio.sleep(0.05)
            why = await observer.client.why()
            assert not why.healthy and not member.core.peers
            assert any("dialed in vain" in each for each in why.sentences)
            assert any("members only" in each for each in why.sentences)
            member.runtime._allowed = frozenset({observer.key.public_key})
            transport.book.retry_static()
            await observer.until(lambda: bool(observer.core.peers))
            assert not any("in vain" in each for each in (await observer.client.why()).sentences)


async def test_why_tells_only_so_much_of_peers_that_are_not_there(node: OneNode) -> None:
    gone = [DialFailure("10.0.0.1", port, "unreachable", "no answer", 0) for port in range(7)]
    itself = DialFailure("10.0.0.1", 9, "self-connection", "this is the node itself", 0)
    healthy, sentences = explain(node.core, node.core.idle_since_ms, [itself, *gone])
    assert healthy, "what it needs is there"
    assert "10.0.0.1:0 is dialed in vain: no answer (unreachable)." in sentences
    assert sentences[-1] == "So are 2 more of p2p.peers." and len(sentences) == 7
