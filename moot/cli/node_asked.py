"""``moot node status/peers/why``: what a running node says of itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from chain.bech32m import parse_address
from chain.errors import Invalid
from moot.cli.common import (
    Failure,
    json_option,
    node_option,
    plain,
    print_facts,
    print_json,
    print_table,
)
from moot.cli.network import ask, client_of, run
from moot.client.answers import PeerAnswer
from moot.client.node import NodeClient


@click.command()
@node_option
@json_option
def status(node_url: str, as_json: bool) -> None:
    """Show where a node stands: chain, head, finality, peers, mempool.

    Example: moot node status --node http://127.0.0.1:9601
    """
    found = ask(node_url, NodeClient.status)
    if as_json:
        print_json(found)
        return
    head, final, waiting = found.head, found.finalized, found.mempool
    moment = datetime.fromtimestamp(head.time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    extras = [name for name in ("syncing", "mining", "faucet") if getattr(found, name)]
    print_facts(
        [
            ("Chain", found.chain_id),
            ("Network", f"{found.name} ({found.network}), engine {found.engine}"),
            ("Node", found.node),
            ("Head", f"{head.height}  {head.id}"),
            ("", ""),
            (found.finality.capitalize(), f"{final.height}  {final.id}"),
            ("Time", f"{moment} (the head's)"),
            ("Peers", found.peers),
            ("Mempool", f"{waiting.count} transactions, {waiting.pending} of them executable"),
            ("Does", ", ".join(extras)),
            ("Up for", _span(found.uptime_ms)),
            ("Version", found.version),
        ]
    )


@click.command()
@node_option
@json_option
def peers(node_url: str, as_json: bool) -> None:
    """Show the nodes that a node is linked to.

    Example: moot node peers
    """
    found = ask(node_url, NodeClient.peers)
    if as_json:
        print_json({"peers": found})
        return
    if not found:
        click.echo("no peer is linked; `moot node why` may say why")
        return
    now_ms = time.time_ns() // 1_000_000
    print_table(
        ("node", "address", "height", "final", "latency", "score", "linked for", "in", "out"),
        [_row(peer, now_ms) for peer in found],
        left=("address",),
        long=("node",),
    )


def _row(peer: PeerAnswer, now_ms: int) -> tuple[str, ...]:
    return (
        peer.node,
        f"{'to' if peer.outbound else 'from'} {peer.host}:{peer.port}",
        str(peer.height),
        str(peer.finalized_height),
        "" if peer.latency_ms is None else f"{peer.latency_ms:g} ms",
        f"{peer.score:g}",
        _span(max(0, now_ms - peer.connected_ms)),
        _size(peer.bytes_in),
        _size(peer.bytes_out),
    )


@click.command()
@node_option
@json_option
def why(node_url: str, as_json: bool) -> None:
    """Say why a node makes no progress, or that it does.

    Example: moot node why
    """
    found = ask(node_url, NodeClient.why)
    if as_json:
        print_json(found)
        return
    for sentence in found.sentences:
        click.echo(plain(sentence))


@click.command()
@node_option
@json_option
def displaced(node_url: str, as_json: bool) -> None:
    """List transactions that a losing branch had taken and the winning one cannot take.

    Example: moot node displaced
    """
    found = ask(node_url, NodeClient.displaced)
    if as_json:
        print_json({"displaced": found})
        return
    if not found:
        click.echo("no transaction was displaced")
        return
    print_table(
        ("transaction", "height", "why", "in its place"),
        [(each.txid, str(each.height), each.code, each.rival or "-") for each in found],
        left=("why",),
        long=("transaction", "in its place"),
    )


def _span(milliseconds: int) -> str:
    """Such as ``3 h 12 min``: the two largest units."""
    seconds = milliseconds // 1000
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _size(count: int) -> str:
    """Bytes for people, decimal units."""
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


@click.command()
@click.argument("to", required=False)
@node_option
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    envvar="MOOT_ADMIN_TOKEN_FILE",
    help="File with the node's rest.admin_token_file token (a devnet's: admin.token).",
)
@json_option
def transfer(to: str | None, node_url: str, token_file: Path, as_json: bool) -> None:
    """Hand leadership to the voter TO, or to the one that is furthest; ask the leader for it.

    TO is a member's name or address. For engines whose leader stays, such as raft. It answers once
    somebody leads again, and fails where that is not TO.

    Example: moot node transfer node2 --token-file admin.token
    """
    client = client_of(node_url, token=token_file.read_text(encoding="utf-8").strip())

    async def asked() -> str:
        async with client:
            return await client.command("transfer", () if to is None else (_member(to),))

    outcome = run(asked())
    if outcome.startswith("refused"):
        raise Failure(outcome)
    if as_json:
        print_json({"outcome": outcome})
        return
    click.echo(plain(outcome or "done"))


def _member(text: str) -> str:
    """A member as engines know it: by its name, or by its key in hex where an address was typed."""
    try:
        return parse_address(text)[1:].hex()
    except Invalid:
        return text
