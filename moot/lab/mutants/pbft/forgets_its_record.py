"""A restarted replica votes as if new."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="forgets-its-record",
    engine="pbft",
    rule="what was said before a crash is said again, unchanged",
    source="Twins (Bano et al. 2021), amnesia",
    rewrites=(
        Rewrite(
            "consensus.pbft.record:parse_record",
            "return codec.decode(raw, PbftRecord, RECORD_SIZE_MAX)",
            (
                "old = codec.decode(raw, PbftRecord, RECORD_SIZE_MAX)\n        return "
                "PbftRecord(height=old.height, view=old.view, active=old.active)"
            ),
        ),
    ),
    faults=("crash-at-effect", "delay", "loss"),
    minutes=1.0,
)
