"""``moot verify``: check a proof document offline."""

from __future__ import annotations

from pathlib import Path

import click

from chain.errors import InvalidProof
from chain.verifiers import default_verifier
from moot.cli.common import json_option, print_json
from moot.node.config import ConfigError
from moot.node.documents import DOCUMENT_SIZE_MAX, verify_document


@click.command(name="verify")
@click.argument(
    "file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--chain-id", default=None, help="Refuse proofs of any other chain.")
@json_option
def verify(file: Path, chain_id: str | None, as_json: bool) -> None:
    """Check a transaction's, block's or account's proof from JSON alone, without a network.

    Example: moot verify proof.json
    """
    with click.open_file(str(file), "rb") as source:
        raw = source.read(DOCUMENT_SIZE_MAX + 1)
    if not raw:
        raise ConfigError(f"{file} is empty")
    verdict = verify_document(raw, default_verifier())
    if chain_id is not None and chain_id.lower() != verdict.chain_id:
        raise InvalidProof("other-chain", f"a proof of chain {verdict.chain_id}, not the one asked")
    if as_json:
        print_json(verdict)
        return
    for sentence in verdict.proves:
        click.echo(f"proven: {sentence}")
    for sentence in verdict.assumes:
        click.echo(f"assumed: {sentence}")
