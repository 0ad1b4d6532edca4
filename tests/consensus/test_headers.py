"""Where no work is done a header's work fields say nothing, under every engine."""

from __future__ import annotations

import msgspec
import pytest

from chain.errors import InvalidBlock
from consensus.registry import engine_names
from moot.lab.cluster import Cluster


@pytest.mark.parametrize("engine", [name for name in engine_names() if name != "pow"])
def test_a_header_that_uses_them_is_refused(engine: str) -> None:
    cluster = Cluster(engine, 4, 1)
    cluster.start()
    cluster.load(200)
    cluster.run(3_000)
    core = cluster.nodes[0].running
    ledger = core.ledger
    head = ledger.header(ledger.head())
    assert head.height > 0
    core.rules.check_header(head, ledger)
    for field, value, code in (
        ("nonce", 1, "work-fields-set"),
        ("bits", 1, "work-fields-set"),
        ("version", head.header.version + 1, "bad-version"),
        ("time_s", head.header.time_s + 1, "times-differ"),
    ):
        changed = msgspec.structs.replace(head.header, **{field: value})
        with pytest.raises(InvalidBlock) as caught:
            core.rules.check_header(msgspec.structs.replace(head, header=changed), ledger)
        assert caught.value.code == code
