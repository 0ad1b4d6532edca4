"""Proof documents with lies in them: `moot verify` never calls proven what is not."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from chain.errors import Invalid
from chain.hashing import show_id
from chain.verifiers import default_verifier
from moot.cli.main import main
from moot.node.documents import verify_document
from tests.moot.hostile.test_pow_lies import grow, pay
from tests.support.node_under_attack import USERS, NodeUnderAttack, found, node_key

KINDS = ("block", "transaction", "account", "absent")


async def documents(directory: Path, engine: str) -> dict[str, bytes]:
    """A proof of each kind from a real node, in the form in which REST gives it."""
    genesis = found(engine, 0 if engine == "pow" else 1, {})
    async with NodeUnderAttack(directory, genesis, node_key(0)) as node:
        payment = pay(node, 0, (123,))
        assert node.core.submit([payment]) == [None]
        node.runtime.wake()
        if engine == "pow":
            await grow(node, 8)
        await node.until(
            lambda: node.ledger.height(node.ledger.confirmed()) >= (2 if engine == "pow" else 1)
        )
        located = node.ledger.transaction(payment.id)
        assert located is not None
        paths = {
            "block": f"/moot/block/{show_id(located.block_id)}/proof",
            "transaction": f"/moot/tx/{show_id(payment.id)}/proof",
            "account": f"/moot/account/{node.show(USERS[1])}/proof",
            "absent": f"/moot/account/{node.show(node_key(77))}/proof",
        }
        found_: dict[str, bytes] = {}
        async with aiohttp.ClientSession() as session:
            for kind, path in paths.items():
                async with session.get(node.url + path) as answer:
                    assert answer.status == 200, await answer.text()
                    found_[kind] = await answer.read()
    return found_


@pytest.fixture(params=["pow", "pbft"])
async def honest(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, bytes]:
    return await documents(tmp_path / "n", request.param)


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something can be changed."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*path, key)
            yield from places(value, (*path, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield (*path, index)
            yield from places(value, (*path, index))


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def changed_value(rng: random.Random, value: Any) -> Any:
    odd: list[Any] = [None, "", "zz", -1, 0, 2**63, 2**64, 10**30, 1.5, [], {}, True, "\u0000", "é"]
    if isinstance(value, str) and value and rng.randrange(4):
        position = rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                flipped = rng.choice("0123456789abcdef")
                return value[:position] + flipped + value[position + 1 :]
            case 1:
                return value[:position] + value[position + 2 :]
            case 2:
                return value[:position] + "00" + value[position:]
            case _:
                return value.upper()
    if isinstance(value, int) and not isinstance(value, bool) and rng.randrange(3):
        return value + rng.choice((-1, 1, 2**32))
    return rng.choice(odd)


def lie(rng: random.Random, document: Any, others: list[Any]) -> Any:
    """One or two fields changed, taken out, or taken from another document."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        path = rng.choice(list(places(made)))
        parent, last = at(made, path[:-1]), path[-1]
        match rng.randrange(8):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case 2:
                other = rng.choice(others)
                source = rng.choice(list(places(other)))
                parent[last] = copy.deepcopy(at(other, source))
            case _:
                parent[last] = changed_value(rng, parent[last])
        if not made:
            break
    return made


def facts(raw: bytes) -> set[str]:
    """What a document proves, as sentences that name their objects."""
    return set(verify_document(raw, default_verifier()).proves)


def weaker(sentence: str, truths: set[str]) -> bool:
    """Whether a sentence about work says no more than a true one: fewer blocks on top."""
    if " blocks on top" not in sentence:
        return False
    start, count = sentence.split(" has ")[0], int(sentence.split(" has ")[1].split()[0])
    return any(
        truth.startswith(start + " has ") and count <= int(truth.split(" has ")[1].split()[0])
        for truth in truths
    )


def attack(honest: dict[str, bytes], seed: int, count: int) -> None:
    truths = {sentence.lower() for raw in honest.values() for sentence in facts(raw)}
    parsed = {kind: json.loads(raw) for kind, raw in honest.items()}
    chain_id = parsed["block"]["chain_id"]
    rng = random.Random(seed)
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        document = lie(rng, parsed[kind], list(parsed.values()))
        raw = json.dumps(document).encode()
        if number % 10 == 0:
            broken = bytearray(raw)
            broken[rng.randrange(len(broken))] = rng.randrange(256)
            raw = bytes(broken)
        try:
            verdict = verify_document(raw, default_verifier())
        except Invalid as error:
            assert error.sentence and "\n" not in error.sentence.strip()
            continue
        if verdict.chain_id != chain_id:
            continue  # an honest verdict about some other chain, whose id it names
        for sentence in verdict.proves:
            sentence = sentence.lower()  # bech32 may stand in capitals
            assert sentence in truths or weaker(sentence, truths), (sentence, truths)


def test_no_lie_is_proven(honest: dict[str, bytes]) -> None:
    attack(honest, 1, 1_500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 5))
def test_no_lie_is_proven_in_long_runs(honest: dict[str, bytes], seed: int) -> None:
    attack(honest, seed, 20_000)


def test_the_command_says_one_sentence(honest: dict[str, bytes], tmp_path: Path) -> None:
    rng = random.Random(5)
    parsed = {kind: json.loads(raw) for kind, raw in honest.items()}
    file = tmp_path / "proof.json"
    odd = [b"\xff", b"[]", b"{", b"null", b"[" * 100_000, b'{"format": 5}', b"1" * 10_000]
    lies = [json.dumps(lie(rng, parsed["account"], [parsed["block"]])).encode() for _ in range(60)]
    for raw in (*odd, *lies):
        file.write_bytes(raw)
        done = CliRunner().invoke(main, ["verify", str(file)])
        assert done.exit_code in (0, 1), (raw[:80], done.output, done.exception)
        assert isinstance(done.exception, (SystemExit, type(None))), (raw[:200], done.exception)
        if done.exit_code == 1:
            assert done.output.startswith("Error: "), done.output
            assert done.output.count("\n") == 1, done.output


def test_a_document_of_another_chain_is_refused_when_the_chain_is_named(
    honest: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "proof.json"
    file.write_bytes(honest["account"])
    chain_id = json.loads(honest["account"])["block"]["chain_id"]
    for named, code in ((chain_id, 0), (chain_id.upper(), 0), ("0" * 64, 1), ("", 1)):
        done = CliRunner().invoke(main, ["verify", str(file), "--chain-id", named])
        assert done.exit_code == code, (named, done.output)
