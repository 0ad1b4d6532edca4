"""A signer that lost its record signs at once, for slots that it may have signed before."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-at-once-without-a-record",
    engine="authority",
    rule="who lost its record signs no slot that it may have signed",
    source="Paxos Made Live, section 5.1 (a lost disk rejoins as a non-voter)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._on_started",
            "self._parameters.slot_of(now.wall_ms) + SLOTS_AFTER_LOSS",
            "0",
        ),
    ),
    under="authority",
    nodes=3,
    minutes=1.0,
    faults=("wiped-disk",),
    parameters={"slot_ms": 9000, "step_in_ms": 500},
)
