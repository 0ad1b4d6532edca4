"""All that is looked at under Raft alone."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.raft.parameters import RaftParameters
from moot.lab.checkers.ballots import Ballots
from moot.lab.checkers.elections import Elections
from moot.lab.checkers.reactions import Reactions
from moot.lab.node import SimulatedNode
from moot.lab.report import Findings


def watch_raft(
    nodes: Sequence[SimulatedNode], parameters: RaftParameters, findings: Findings
) -> None:
    """Puts the checkers on a whole cluster, before it starts."""
    Elections(nodes, parameters, findings)
    for node in nodes:
        Ballots(node, parameters, findings)
        Reactions(node, parameters, findings)
