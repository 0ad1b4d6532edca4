"""A replica names the last final height it knows, not the one it has said a commit for."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="reads-miss-commits",
    engine="pbft",
    rule="what was said may be final elsewhere: a commit that is out counts",
    source="Castro and Liskov, OSDI'99, section 4.2 (committed before committed-local)",
    rewrites=(
        Rewrite(
            "consensus.pbft.replica:Replica._height_spoken",
            "record.height if record.commit is not None else record.height - 1",
            "record.height - 1",
        ),
    ),
    faults=("selective-loss", "loss"),
    minutes=1.0,
    load_tps=12.0,
)
