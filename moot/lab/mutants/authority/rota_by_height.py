"""Turns go by height: one signer that is down holds up the height that is its own."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="rota-by-height",
    engine="authority",
    rule="whose turn it is follows from the slot",
    source="LIP-0014, Graphene (producer by slot, not list[height % n])",
    rewrites=(
        Rewrite(
            "consensus.authority:AuthorityEngine._next_turn",
            "is_in_turn(signers, slot, self._me)",
            "is_in_turn(signers, view.height(self._head) + 1, self._me)",
        ),
        Rewrite(
            "consensus.authority:AuthorityRules.check_header",
            "is_in_turn(signers, claims.slot, signer)",
            "is_in_turn(signers, block.height, signer)",
        ),
    ),
    under="authority",
    faults=("kill",),
)
