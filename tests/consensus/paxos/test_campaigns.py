"""Random adversity with fixed seeds for both engines of the family. Each seed repeats exactly."""

from __future__ import annotations

from typing import Any

import pytest

from consensus.contract import EngineProtocol
from consensus.multipaxos import PROTOCOL as MULTIPAXOS
from consensus.multipaxos import MultiPaxosParameters
from consensus.paxos import PROTOCOL as PAXOS
from consensus.paxos import PaxosParameters
from tests.support.campaigns import run_campaign

QUICK_PAXOS = PaxosParameters(retry_ms=200, retry_ms_max=1_600)
QUICK_MULTIPAXOS = MultiPaxosParameters(
    lease_ms=400, renew_ms=80, election_ms=150, election_ms_max=1_200
)
ENGINES: list[tuple[EngineProtocol, Any]] = [(PAXOS, QUICK_PAXOS), (MULTIPAXOS, QUICK_MULTIPAXOS)]
SIZES = (1, 2, 3, 3, 4, 5, 6, 7)

both = pytest.mark.parametrize(("protocol", "parameters"), ENGINES, ids=["paxos", "multipaxos"])


@both
@pytest.mark.parametrize("seed", range(48))
def test_faults_never_break_agreement_and_healing_brings_progress(
    seed: int, protocol: EngineProtocol, parameters: Any
) -> None:
    """Loss, repetition, partitions, crashes at any effect: one chain, and it grows again."""
    n = SIZES[seed % len(SIZES)]
    cluster = run_campaign(seed, n, protocol=protocol, parameters=parameters)
    assert not [report for node in cluster.nodes for report in node.reports]


@both
@pytest.mark.parametrize("seed", range(24))
def test_catching_up_needs_no_sync_service(
    seed: int, protocol: EngineProtocol, parameters: Any
) -> None:
    """Partitions and loss only, and nobody but the engines carries certificates."""
    run_campaign(
        seed,
        SIZES[seed % len(SIZES)],
        protocol=protocol,
        parameters=parameters,
        background_sync_ms=None,
        crashes=False,
    )


@pytest.mark.slow
@both
@pytest.mark.parametrize("seed", range(1_000, 1_250))
def test_faults_at_length(seed: int, protocol: EngineProtocol, parameters: Any) -> None:
    """The same, longer."""
    n = SIZES[seed % len(SIZES)]
    run_campaign(seed, n, protocol=protocol, parameters=parameters, rounds=30)
