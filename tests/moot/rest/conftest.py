"""A node and its API, fresh for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.one_node import OneNode
from tests.support.rest_api import Api


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OneNode]:
    """A PBFT network of one: it makes a block as soon as a transaction waits."""
    async with OneNode(tmp_path) as one:
        yield one


@pytest.fixture
async def api(node: OneNode) -> AsyncIterator[Api]:
    async with Api(node.url) as api:
        yield api
