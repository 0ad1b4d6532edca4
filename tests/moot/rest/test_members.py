"""Members and votes, as REST, Esplora and the metrics tell them."""

from __future__ import annotations

from pathlib import Path

from chain.hashing import show_id
from chain.transaction import BUNDLE, LEARNER, MembershipVote, Transfer
from tests.support.one_node import KEYS, OneNode
from tests.support.rest_api import Api


async def test_a_learner_is_listed_and_its_vote_is_shown(tmp_path: Path) -> None:
    async with OneNode(tmp_path) as node, Api(node.url) as api:
        await node.final(node.sign(KEYS[0], [Transfer(node.key.address, 100_000)]))
        before = (await api.get("/moot/members")).value
        assert (before["change"], before["quorum"], before["joint"]) == ("at-once", 1, False)
        assert [each["standing"] for each in before["members"]] == ["voter"]
        assert before["members"][0]["decides"] and before["members"][0]["linked"]
        vote = node.sign(
            node.key,
            [
                MembershipVote(KEYS[1].address, LEARNER, 0, "one"),
                MembershipVote(KEYS[1].address, 77),
                Transfer(KEYS[2].address, 7),
            ],
            mode=BUNDLE,
        )
        await node.final(vote)
        after = (await api.get("/moot/members")).value
        learner = next(each for each in after["members"] if each["standing"] == "learner")
        assert (learner["name"], learner["weight"], learner["decides"]) == ("one", 0, False)
        assert learner["finalized_height"] is None, "it is not linked"
        voter = next(each for each in after["members"] if each["standing"] == "voter")
        assert voter["finalized_height"] == after["height"] > 1
        assert after["wishes"] == []
        txid = show_id(vote.id)
        actions = (await api.get(f"/moot/tx/{txid}")).value["actions"]
        assert [each["kind"] for each in actions] == ["membership-vote"] * 2 + ["transfer"]
        assert (actions[0]["standing"], actions[0]["ok"]) == ("learner", True)
        assert (actions[1]["standing"], actions[1]["code"]) == ("unknown-77", "unknown-standing")
        assert "does not know" in actions[1]["sentence"]
        esplora = (await api.get(f"/api/tx/{txid}")).value
        assert [output["value"] for output in esplora["vout"]] == [7]
        assert esplora["vin"][0]["prevout"]["value"] == 7 + esplora["fee"]
        metrics = (await api.get("/metrics")).text
        assert "moot_consensus_learners 1.0" in metrics
        assert "moot_consensus_joint 0.0" in metrics
