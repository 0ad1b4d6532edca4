"""After a restart the signer takes itself for new."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="forgets-its-slot",
    engine="authority",
    rule="the last slot signed is in the durable record",
    source="EIP-3076; CometBFT (signing state persisted first)",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine.__init__",
            "None if record is None else parse_record(record).last_slot",
            "0",
        ),
    ),
    under="authority",
    faults=("kill", "power-failure", "crash-at-effect"),
    parameters={"slot_ms": 6000, "step_in_ms": 500},
    minutes=1.0,
    nodes=3,
)
