"""What can go wrong between a client and a node."""

from __future__ import annotations


class ClientError(Exception):
    """Base of this package's errors; ``str`` gives one plain sentence."""


class NodeUnreachable(ClientError):
    """No answer: nobody listens, the name does not resolve, it took too long, or it broke off.

    Whether the node saw the request is unknown.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the node at {url} cannot be reached: {reason}")
        self.url = url
        self.reason = reason


class NodeRefused(ClientError):
    """The node answered, and said no. ``status`` is HTTP's, ``code`` the node's ("" if none)."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence


class BadAnswer(ClientError):
    """The node answered something that this client does not understand."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"the node at {url} gave an answer that makes no sense: {reason}")
        self.url = url
        self.reason = reason
