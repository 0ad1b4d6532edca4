"""``moot chain snapshot`` and ``moot chain prune``: what a stopped node keeps."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import click

from chain.errors import DamagedStore, Invalid, InvalidProof
from chain.hashing import show_id
from chain.ledger.shelf import Shelf
from chain.ledger.staging import Staging
from chain.snapshot import Snapshot
from chain.storage.leveldb import compact
from chain.verifiers import default_verifier
from moot.cli.chain import chain, dir_option, judging, opened, progress, reading
from moot.cli.common import Failure, json_option, print_facts, print_json
from moot.node.config import Folder
from moot.node.eras import EraBook
from moot.node.gate import Gate
from moot.node.judge import ChainJudge
from moot.node.snapshot_file import SnapshotFileReader, SnapshotFileWriter
from moot.node.snapshots import SnapshotKeeper, SnapshotSettings, install_staged


@chain.group()
def snapshot() -> None:
    """Save, restore and look at snapshots of the state.

    Example: moot chain snapshot status --dir n1
    """


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@dir_option
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@json_option
def save(file: Path, directory: Path, force: bool, as_json: bool) -> None:
    """Write the newest snapshot that the node has made into FILE.

    Example: moot chain snapshot save state.moot --dir n1
    """
    if file.exists() and not force:
        raise Failure(f"{file} exists already; overwrite it with --force, or choose another name")
    with reading(directory) as judge:
        if not judge.finalizes:
            raise Failure(
                "on this chain nothing is ever final, so that nothing could show a snapshot to be "
                "true; `moot chain export` writes its blocks"
            )
        shelf = Shelf(judge.ledger.disk)
        if not shelf.kept:
            raise Failure(
                "this node has made no snapshot yet; it makes one every `snapshots.every` blocks "
                "(node.toml)"
            )
        newest = shelf.kept[-1]
        chunks = _save(judge, shelf, newest, file)
    facts = {**_facts(newest), "file": str(file), "chunks": chunks, "bytes": file.stat().st_size}
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{file}: the state at height {newest.height}, {facts['bytes']} bytes")


def _save(judge: ChainJudge, shelf: Shelf, newest: Snapshot, file: Path) -> int:
    """Whole or not at all: written beside, put in place when it is complete."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    count = 0
    try:
        with partial.open("xb") as target:
            writer = SnapshotFileWriter(target, judge.ledger.genesis, newest)
            for chunk in shelf.chunks(newest.height):
                try:
                    chunk.check(newest.root)
                except InvalidProof as error:
                    raise DamagedStore(f"the stored snapshot is damaged: {error}") from error
                writer.add(chunk)
                count += 1
            writer.finish()
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return count


@snapshot.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@dir_option
@json_option
def restore(file: Path, directory: Path, as_json: bool) -> None:
    """Begin from the snapshot in FILE, instead of executing the blocks up to it.

    The folder is one that `moot node init` made with the same genesis. Everything is checked: the
    proof that the snapshot's block is final, by the validators that the folder knows (those of
    genesis, or of its last final block), and every value of the state. Until all of it is found
    good the folder stays as it was.

    Example: moot chain snapshot restore state.moot --dir n2
    """
    with file.open("rb") as source:
        try:
            reader = SnapshotFileReader(source)
            with judging(directory) as judge:
                _stage(judge, reader, file, directory)
        except Invalid as error:
            raise Failure(f"{file}: {error.sentence} ({error.code})") from error
    with opened(directory) as store:
        installed = install_staged(store, reader.genesis)
    assert installed is not None, "it was complete"
    if as_json:
        print_json(_facts(installed))
    else:
        click.echo(f"{directory} begins at height {installed.height}")


def _stage(judge: ChainJudge, reader: SnapshotFileReader, file: Path, directory: Path) -> None:
    """Takes the file in beside the chain. Raises Invalid; then nothing of it stays."""
    ledger = judge.ledger
    if reader.genesis.raw != ledger.genesis.raw:
        raise Failure(f"{file} holds another chain than {directory}: their genesis differs")
    eras = EraBook()
    gate = Gate(eras.protocol(ledger.genesis.eras[0]), ledger.chain_id, default_verifier())
    staging = Staging(ledger.disk)
    if staging.snapshot is not None:
        staging.drop()
    while staging.sweep():
        pass
    settings = SnapshotSettings(every=0, gap_max=0)
    keeper = SnapshotKeeper(ledger, eras, gate, settings, lambda level, event, fields: None)
    keeper.begin(reader.snapshot)
    done = False
    try:
        with progress("restoring", file.stat().st_size) as advance:
            for chunk in reader.chunks():
                keeper.add(chunk)
                advance(reader.position)
        done = True
    finally:
        if not done:
            keeper.drop()
            while keeper.work():
                pass


@snapshot.command()
@dir_option
@json_option
def status(directory: Path, as_json: bool) -> None:
    """Show what a folder keeps: its snapshots, one that is being fetched, what was pruned.

    Example: moot chain snapshot status --dir n1
    """
    with reading(directory) as judge:
        ledger = judge.ledger
        shelf, staging = Shelf(ledger.disk), Staging(ledger.disk)
        kept = []
        for each in shelf.kept:
            sizes = [
                sum(len(key) + len(value) for key, value in chunk.items)
                for chunk in shelf.chunks(each.height)
            ]
            kept.append({**_facts(each), "chunks": len(sizes), "state_bytes": sum(sizes)})
        staged = staging.snapshot
        facts: dict[str, Any] = {
            "height": ledger.height(ledger.head()),
            "finalized_height": ledger.height(ledger.confirmed()),
            "bodies_from": max(1, ledger.bodies_from),
            "heads_from": max(1, ledger.heads_from),
            "snapshots": kept,
            "fetching": None
            if staged is None
            else {**_facts(staged), "per_mille": staging.coverage.per_mille()},
        }
    if as_json:
        print_json(facts)
        return
    print_facts(
        [
            ("Height", facts["height"]),
            ("Final", facts["finalized_height"]),
            ("Bodies kept from", facts["bodies_from"]),
            ("Heads kept from", facts["heads_from"]),
            *(
                (
                    "Snapshot",
                    f"height {each['height']}, {each['chunks']} chunks, "
                    f"{each['state_bytes']} bytes",
                )
                for each in kept
            ),
        ]
    )
    if staged is not None:
        tenths = facts["fetching"]["per_mille"]
        click.echo(f"fetching the state at height {staged.height}: {tenths / 10:.1f} % is here")


@chain.command()
@dir_option
@click.option(
    "--keep",
    "bodies",
    type=click.IntRange(1),
    required=True,
    help="Newest final blocks that stay, with their transactions.",
)
@json_option
def prune(directory: Path, bodies: int, as_json: bool) -> None:
    """Forget old blocks' transactions and give the room on the disk back.

    Heads, the state and the sums of addresses stay. Old transactions cannot be looked up any more,
    and no peer can fetch old blocks here; snapshots below what is kept go, since nothing would lead
    on from them. Where nothing is ever final, a branch that leaves the
    chain below what is kept can never win here any more.

    Example: moot chain prune --keep 1000 --dir n1
    """
    database = Folder(directory).database
    with judging(directory) as judge:
        before = _size(database)
        ledger = judge.ledger
        if _settles_nothing(judge):
            raise Failure(
                "on this chain a branch of any length may win, and a node that had forgotten what "
                "it must take back could not follow; nothing is pruned"
            )
        ledger.flush()
        bodies_from = ledger.prune(ledger.height(ledger.confirmed()) - bodies + 1)
        shelf = Shelf(ledger.disk)
        while ledger.sweep() or shelf.sweep():
            pass
        compact(ledger.disk.store)
        kept = Shelf(ledger.disk).kept
    facts = {
        "bodies_from": max(1, bodies_from),
        "bytes_before": before,
        "bytes_after": _size(database),
    }
    if as_json:
        print_json(facts)
    else:
        saved = max(0, before - facts["bytes_after"]) / 1e6
        click.echo(
            f"bodies are kept from height {facts['bodies_from']} on; {saved:.1f} MB are free"
        )
        if judge.finalizes and facts["bodies_from"] > 1 and not kept:
            click.echo(
                "Leave another node unpruned: nobody can join by this one alone, since no snapshot "
                "that it keeps leads on to what is left.",
                err=True,
            )


def _settles_nothing(judge: ChainJudge) -> bool:
    ledger = judge.ledger
    rules = EraBook().rules_after(ledger, ledger.head())
    return rules.properties.finality == "none"


def _size(database: Path) -> int:
    return sum(path.stat().st_size for path in database.iterdir() if path.is_file())


def _facts(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "chain_id": show_id(snapshot.chain_id),
        "height": snapshot.height,
        "block": show_id(snapshot.block),
        "state_root": snapshot.root.hex(),
    }
