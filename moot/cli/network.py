"""Talking to a node from a command: one client, one loop, and errors as sentences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click

from moot.cli.common import Failure
from moot.client.errors import ClientError, NodeRefused, NodeUnreachable
from moot.client.node import NodeClient

T = TypeVar("T")


def client_of(url: str, **options: Any) -> NodeClient:
    """A client of the node at ``url``. Raises BadParameter where that is no URL."""
    try:
        return NodeClient(url, **options)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--node") from None


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end. Raises Failure where the node did not answer or refused."""
    try:
        return asyncio.run(work)
    except ClientError as error:
        raise failure(error) from error


def ask(url: str, question: Callable[[NodeClient], Awaitable[T]]) -> T:
    """The answer of the node at ``url`` to one question. Raises Failure and BadParameter."""
    client = client_of(url)

    async def asked() -> T:
        async with client:
            return await question(client)

    return run(asked())


def failure(error: ClientError) -> Failure:
    """The sentence for people, with the node's code where it gave one."""
    if isinstance(error, NodeRefused) and error.code:
        return Failure(f"{error.sentence} ({error.code})")
    if isinstance(error, NodeUnreachable):
        return Failure(f"{error}. Does it run? Name another with --node or MOOT_NODE.")
    return Failure(str(error))
