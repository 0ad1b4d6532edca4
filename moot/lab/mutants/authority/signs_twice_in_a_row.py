"""A signer signs whenever it may, also right after itself."""

from moot.lab.mutants import Mutant, Rewrite

MUTANT = Mutant(
    name="signs-twice-in-a-row",
    engine="authority",
    rule="of floor(n/2) + 1 blocks in a row a signer signs one",
    source="EIP-225, SIGNER_LIMIT",
    rewrites=(
        Rewrite(
            "consensus.authority:signed_recently",
            "block.manifest.producer == signer",
            "False",
        ),
    ),
    under="authority",
    faults=("kill", "partition"),
)
