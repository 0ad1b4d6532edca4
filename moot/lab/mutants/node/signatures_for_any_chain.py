"""Signatures are not bound to a chain."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signatures-for-any-chain",
    engine="node",
    rule="what is signed names chain, engine and slot",
    source="domain separation; EIP-155",
    rewrites=(
        Rewrite(
            "moot.node.gate:attested_bytes",
            "        chain_id,\n",
            "        bytes(32),\n",
        ),
    ),
)
