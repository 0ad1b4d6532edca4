"""Grants a lease under a ballot that it has not written down."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="grants-unwritten",
    engine="multipaxos",
    under="multipaxos",
    rule="what is granted was promised, durably",
    source="Chandra et al., Paxos Made Live, section 5.2",
    rewrites=(
        Rewrite(
            "consensus.multipaxos.engine:MultiPaxosEngine._on_renewal",
            "self._write()\n    self._leader",
            "self._leader",
        ),
    ),
    faults=("kill", "kill-all", "crash-at-effect", "delay"),
    minutes=0.6,
)
