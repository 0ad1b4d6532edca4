"""A leader calls entries final on which it has no vote, and asks nobody who has."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="raft-proves-nothing-inherited",
    engine="raft",
    rule="a final block has the statement of somebody with a vote on it",
    source="docs/decisions/0012",
    under="raft",
    rewrites=(
        Rewrite(
            "consensus.raft.statements:Statements._statements_for",
            "lacking = lacking or head",
            "pass",
        ),
    ),
    nodes=4,
    minutes=1.0,
    faults=("membership", "kill", "one-way-cut", "delay", "transfer"),
    load_tps=12.0,
)
