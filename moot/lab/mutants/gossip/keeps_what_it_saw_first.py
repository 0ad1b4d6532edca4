"""Of two equal heads each node keeps what it saw first."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="keeps-what-it-saw-first",
    engine="gossip",
    rule="of equal heights all choose the smaller id",
    source="strong eventual consistency, Shapiro et al. 2011",
    rewrites=(
        Rewrite(
            "consensus.gossip.engine:_rank",
            "bytes(255 - byte for byte in block)",
            'b""',
        ),
    ),
    under="gossip",
    faults=("partition", "delay"),
)
