"""A peer that answers no question is waited for without end."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="waits-for-the-mute",
    engine="node",
    rule="a question is put to another peer after a time-out",
    source="Bitcoin Core, headers and block download time-outs",
    rewrites=(
        Rewrite(
            "p2p.sync.headers:Headers.tick",
            "now_ms - self._asked[1] >= HEADS_TIMEOUT_MS",
            "False",
        ),
    ),
    under="pow",
    liars=("stalling-peer",),
    faults=("partition",),
    minutes=0.6,
)
