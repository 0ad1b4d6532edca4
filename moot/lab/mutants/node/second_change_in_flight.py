"""The members change again before the joint configuration has been left."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="second-change-in-flight",
    engine="node",
    rule="no change of the members is taken while a joint configuration is in force",
    source="Ongaro and Ousterhout, USENIX ATC'14, section 6",
    rewrites=(
        Rewrite(
            "chain.membership:MembershipBook._refusal",
            "if self.validators.outgoing:",
            "if not self.validators:",
        ),
    ),
    under="raft",
    nodes=4,
    minutes=1.0,
    faults=("membership",),
)
