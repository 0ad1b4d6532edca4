"""Says it first and writes it down afterwards."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="speaks-before-writing",
    engine="pbft",
    rule="the record is durable before a statement leaves",
    source="Castro and Liskov, OSDI'99, section 4.3 and 4.4 (a replica recovers what it said)",
    rewrites=(
        Rewrite(
            "consensus.pbft.replica:Replica._speak",
            "self._emit(Persist(self._record.raw, blocks))\n    self._emit(Broadcast(message))",
            "self._emit(Broadcast(message))\n    self._emit(Persist(self._record.raw, blocks))",
        ),
    ),
)
