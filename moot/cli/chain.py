"""``moot chain``: offline work on a stopped node's chain."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chain.errors import DamagedStore, Invalid
from chain.hashing import show_id
from chain.ledger import Ledger
from chain.state.accounts import get_supply
from chain.storage import Store
from chain.storage.leveldb import open_leveldb
from chain.storage.memory import MemoryStore
from chain.storage.overlay import OverlayStore
from chain.verifiers import default_verifier
from consensus.registry import UnknownEngine
from moot.cli.common import Failure, Function, json_option, print_facts, print_json
from moot.node.chain_file import ChainFileReader, ChainFileWriter
from moot.node.config import ConfigError, Folder
from moot.node.judge import ChainJudge, block_at
from wallet.amounts import show_amount

Advance = Callable[[int], None]


def dir_option(function: Function) -> Function:
    """``--dir``: a stopped node's folder."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        required=True,
        envvar="MOOT_DIR",
        help="Folder of a node that is not running.",
    )(function)


@click.group(name="chain")
def chain() -> None:
    """Work on a stopped node's chain.

    Example: moot chain verify --dir n1
    """


# --- info -----------------------------------------------------------------------------------------


@chain.command()
@dir_option
@json_option
def info(directory: Path, as_json: bool) -> None:
    """Show what chain a folder holds, and how far it goes.

    Example: moot chain info --dir n1
    """
    with reading(directory) as judge:
        facts = _info(Folder(directory), judge)
    if as_json:
        print_json(facts)
        return
    supply = show_amount(facts.pop("supply"))
    size = f"{facts.pop('size_bytes') / 1e6:.1f} MB"
    labels = ((name.replace("_", " "), value) for name, value in facts.items())
    print_facts([*labels, ("supply", supply), ("on disk", size)])


def _info(folder: Folder, judge: ChainJudge) -> dict[str, Any]:
    ledger = judge.ledger
    genesis, head = ledger.genesis, ledger.header(ledger.head())
    confirmed = ledger.header(ledger.confirmed())
    return {
        "chain_id": show_id(ledger.chain_id),
        "name": genesis.name,
        "network": genesis.network,
        "engine": ledger.params(ledger.head()).engine,
        "height": head.height,
        "head": show_id(head.id),
        "finality": "final" if judge.finalizes else "confirmed",
        "finalized_height": confirmed.height,
        "finalized": show_id(confirmed.id),
        "state_root": head.manifest.state_root.hex(),
        "validators": len(ledger.validators(ledger.head())),
        "supply": get_supply(ledger.state()),
        "size_bytes": sum(
            path.stat().st_size for path in folder.database.iterdir() if path.is_file()
        ),
    }


# --- verify ---------------------------------------------------------------------------------------


@chain.command()
@dir_option
@json_option
def verify(directory: Path, as_json: bool) -> None:
    """Execute every block again from genesis on, with every check, in memory.

    Exit status 1 and a sentence for the first thing that is wrong. Nothing is changed.

    Example: moot chain verify --dir n1
    """
    began = time.monotonic()
    with reading(directory) as judge:
        try:
            report = _verify(judge)
        except Invalid as error:
            if as_json:
                print_json({"ok": False, "code": error.code, "sentence": error.sentence})
            raise
    report["seconds"] = round(time.monotonic() - began, 1)
    if as_json:
        print_json({"ok": True, **report})
        return
    click.echo(
        f"sound: {report['blocks']} blocks with {report['transactions']} transactions and "
        f"{report['proofs']} proofs, up to height {report['height']}"
    )
    print_facts([("Chain", report["chain_id"]), ("State root", report["state_root"])])


def _verify(stored: ChainJudge) -> dict[str, Any]:
    """Raises InvalidBlock, InvalidProof, DamagedStore."""
    source, top = stored.ledger, stored.top()
    _check_whole(source)
    fresh = ChainJudge(MemoryStore(), source.genesis, default_verifier())
    transactions = proofs = 0
    with progress("verifying", top) as advance:
        for height in range(1, top + 1):
            block, proof = _stored_block(source, height)
            fresh.take(block, proof, _now_ms())
            transactions += len(block.transactions)
            proofs += proof is not None
            if fresh.ledger.receipts(block.id) != source.receipts(block.id):
                raise DamagedStore(
                    f"the database's receipts of block {show_id(block.id)} at height {height} are "
                    "not what executing it gives"
                )
            advance(height)
    if fresh.finalizes and fresh.top() != top:
        raise DamagedStore(f"no proof shows the blocks after height {fresh.top()} to be final")
    head = source.id_at(top)
    assert head is not None
    if fresh.ledger.state(head).root != source.state(head).root:
        raise DamagedStore("the database's state is not the one that executing its blocks gives")
    return {
        "chain_id": show_id(source.chain_id),
        "engine": source.params(source.head()).engine,
        "height": top,
        "blocks": top,
        "transactions": transactions,
        "proofs": proofs,
        "state_root": source.state(head).root.hex(),
    }


# --- export ---------------------------------------------------------------------------------------


@chain.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@dir_option
@click.option("--to", "last", type=click.IntRange(0), help="Up to this height [default: all].")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@json_option
def export(file: Path, directory: Path, last: int | None, force: bool, as_json: bool) -> None:
    """Write the chain into FILE: all final blocks with their proofs.

    Where the engine finalizes nothing, the whole best branch.

    Example: moot chain export chain.moot --dir n1
    """
    if file.exists() and not force:
        raise Failure(f"{file} exists already; overwrite it with --force, or choose another name")
    with reading(directory) as judge:
        top = judge.top() if last is None else min(last, judge.top())
        _check_whole(judge.ledger)
        _export(judge.ledger, top, file)
        facts = {
            "file": str(file),
            "chain_id": show_id(judge.ledger.chain_id),
            "height": top,
            "bytes": file.stat().st_size,
        }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{file}: {top} blocks, {facts['bytes']} bytes")


def _export(ledger: Ledger, top: int, file: Path) -> None:
    """Whole or not at all: written beside, put in place when it is complete."""
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        with partial.open("xb") as target, progress("exporting", top) as advance:
            writer = ChainFileWriter(target, ledger.genesis)
            for height in range(1, top + 1):
                writer.add(*_stored_block(ledger, height))
                advance(height)
            writer.finish()
            target.flush()
            os.fsync(target.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


# --- import ---------------------------------------------------------------------------------------


@chain.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@dir_option
@json_option
def import_(file: Path, directory: Path, as_json: bool) -> None:
    """Take the blocks in FILE into a node's folder, each with every check.

    The folder is one that `moot node init` made with the same genesis. Blocks that it has are
    passed over, so that an import that was cut short can simply be done again.

    Example: moot chain import chain.moot --dir n2
    """
    with file.open("rb") as source, judging(directory) as judge:
        reader = ChainFileReader(source)
        if reader.genesis.raw != judge.ledger.genesis.raw:
            raise Failure(f"{file} holds another chain than {directory}: their genesis differs")
        began = judge.top()
        try:
            fresh = _import(judge, reader, file.stat().st_size)
        except Invalid as error:
            if judge.top() > began:
                click.echo(f"heights {began + 1} to {judge.top()} are imported", err=True)
            raise Failure(f"{file}: {error.sentence} ({error.code})") from error
        finally:
            judge.ledger.flush()
        facts = {
            "chain_id": show_id(judge.ledger.chain_id),
            "imported": fresh,
            "height": judge.top(),
            "head": show_id(judge.ledger.head()),
        }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{fresh} blocks imported; {directory} is at height {facts['height']}")


def _import(judge: ChainJudge, reader: ChainFileReader, size: int) -> int:
    count = 0
    with progress("importing", size) as advance:
        for block, proof in reader.blocks():
            count += judge.take(block, proof, _now_ms())
            advance(reader.position)
    return count


# --- shared ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """The folder's database. Raises ConfigError, StoreLocked, DamagedStore."""
    folder = Folder(directory)
    if not folder.genesis.exists():
        raise ConfigError(f"{directory} holds no node; `moot node init` makes a node's folder")
    store = open_leveldb(folder.database, create=False)
    try:
        yield store
    finally:
        store.close()


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[ChainJudge]:
    """The folder's chain; nothing is written."""
    with opened(directory) as store:
        yield _judge(OverlayStore(store), directory)


@contextlib.contextmanager
def judging(directory: Path) -> Iterator[ChainJudge]:
    """The folder's chain, to be added to."""
    with opened(directory) as store:
        yield _judge(store, directory)


def _judge(store: Store, directory: Path) -> ChainJudge:
    genesis = Folder(directory).load_genesis()
    try:
        judge = ChainJudge(store, genesis, default_verifier())
    except (UnknownEngine, ValueError) as error:
        raise ConfigError(str(error)) from None
    judge.restore(_now_ms())
    return judge


def _check_whole(ledger: Ledger) -> None:
    """Raises Failure where blocks were pruned, or the node began from a snapshot."""
    if ledger.bodies_from > 1:
        raise Failure(
            f"blocks below height {ledger.bodies_from} are pruned here; this needs a node that "
            "keeps all of them"
        )


def _stored_block(ledger: Ledger, height: int) -> Any:
    try:
        return block_at(ledger, height)
    except KeyError:
        raise DamagedStore(f"the database lacks the block at height {height}") from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
