"""REST and streaming client library: what the command line, the miner and the load speak."""

from moot.client.errors import BadAnswer, ClientError, NodeRefused, NodeUnreachable
from moot.client.node import NodeClient

__all__ = ["BadAnswer", "ClientError", "NodeClient", "NodeRefused", "NodeUnreachable"]
