"""Errors that are a peer's or a user's fault. Our own mistakes are assertions.

Every error carries a stable ``code`` (kebab-case, for programs) and a sentence (for people).
"""

from __future__ import annotations


class Invalid(Exception):
    """Something from outside breaks a rule. It costs its sender; it never stops the node."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence

    def __reduce__(self) -> tuple[type[Invalid], tuple[str, str]]:
        return (type(self), (self.code, self.sentence))


class InvalidEncoding(Invalid):
    """Bytes that are not the canonical encoding of what they claim to be."""


class InvalidTransaction(Invalid):
    """A transaction that cannot be included here and now, or ever."""


class InvalidBlock(Invalid):
    """A block that breaks a rule of the chain. It will never become valid."""


class InvalidMessage(Invalid):
    """A consensus message that its sender should not have sent."""


class InvalidProof(Invalid):
    """A proof that does not prove what it claims."""


class NotYet(Exception):
    """A block ahead of the wall clock: to be held back, not refused.

    ``until_ms`` is the wall-clock time in milliseconds at which it may be looked at again.
    """

    def __init__(self, until_ms: int) -> None:
        super().__init__(f"not before {until_ms} ms")
        self.until_ms = until_ms


class DamagedStore(Exception):
    """The database cannot be read as a database of ours; the sentence says what to do."""


class ForeignStore(Exception):
    """The database is sound but belongs to another chain or a newer version of Moot."""


class StoreLocked(Exception):
    """Another process has the database open; the sentence says which path."""


class StoreFailure(Exception):
    """The disk refused a read or a write. After a failed write the store takes no more writes.

    What reached the disk is unknown then (a failed fsync may mark pages clean, and a later one
    may "succeed" without them: Rebello et al., "Can Applications Recover from fsync Failures?",
    USENIX ATC 2020), so the only sound way on is to stop, and to open the database again.
    """
