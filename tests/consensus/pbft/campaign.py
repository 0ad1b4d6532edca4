"""PBFT's random campaigns: those of all engines, under its quick parameters."""

from __future__ import annotations

from functools import partial

from consensus.pbft import PROTOCOL, PbftParameters
from tests.support import campaigns

QUICK = PbftParameters(view_timeout_ms=400, view_timeout_ms_max=3_200)
run_campaign = partial(campaigns.run_campaign, protocol=PROTOCOL, parameters=QUICK)
