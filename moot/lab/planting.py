"""Planting mistakes: functions of the production code get another body while a run lasts.

A rewriting names a function and a piece of its source text, and says what stands there instead.
So no switch is needed in production code, and a rewriting whose text is gone fails: a mutant that
mutates nothing would be reported as found by nobody, or worse, as borne.

The function keeps its identity and only its code object is exchanged: whoever imported it under
whatever name meets the mistake. Within ``honestly`` the right code is back, so that checkers judge
by the right rules whatever is planted.
"""

from __future__ import annotations
import __future__

import functools
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import NamedTuple, ParamSpec, TypeVar

import msgspec

from chain.errors import Invalid

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


class MutantGone(Invalid):
    """What a mutant replaces is not there (any more): the mutant must follow the code."""


class Rewrite(msgspec.Struct, frozen=True):
    """``target``: "package.module:Class.function". ``old``: text that stands in its source exactly
    once; ``new``: what stands there in the mutant."""

    target: str
    old: str
    new: str


class _Planted(NamedTuple):
    function: FunctionType
    right: CodeType
    wrong: CodeType


_planted: list[_Planted] = []


@contextmanager
def planted(rewrites: Iterable[Rewrite]) -> Iterator[None]:
    """While it lasts, each rewriting holds. Raises MutantGone, before anything was changed."""
    wanted: dict[str, list[Rewrite]] = {}
    for rewrite in rewrites:
        wanted.setdefault(rewrite.target, []).append(rewrite)
    before = len(_planted)
    _planted.extend([_rewritten(target, changes) for target, changes in wanted.items()])
    try:
        _exchange(_planted[before:], wrong=True)
        yield
    finally:
        _exchange(_planted[before:], wrong=False)
        del _planted[before:]


@contextmanager
def honestly() -> Iterator[None]:
    """While it lasts, the right code is back."""
    _exchange(_planted, wrong=False)
    try:
        yield
    finally:
        _exchange(_planted, wrong=True)


def judged_honestly(function: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
    """For checkers: what they call is not what was planted."""

    @functools.wraps(function)
    def judge(*positional: Parameters.args, **named: Parameters.kwargs) -> Answer:
        if not _planted:
            return function(*positional, **named)
        with honestly():
            return function(*positional, **named)

    return judge


def _exchange(planted: Iterable[_Planted], *, wrong: bool) -> None:
    for function, right, mistaken in planted:
        function.__code__ = mistaken if wrong else right


def _rewritten(target: str, changes: list[Rewrite]) -> _Planted:
    function = _found(target)
    if any(planted[0] is function for planted in _planted):
        raise MutantGone("mutant-gone", f"something is planted in {target} already")
    text = textwrap.dedent(inspect.getsource(function))
    for change in changes:
        if text.count(change.old) != 1:
            raise MutantGone(
                "mutant-gone",
                f"{target} should contain {change.old!r} once; it does {text.count(change.old)} "
                "times",
            )
        text = text.replace(change.old, change.new)
    flags = __future__.annotations.compiler_flag
    compiled = compile(text, f"<mutant of {target}>", "exec", flags, dont_inherit=True)
    names = dict(function.__globals__)
    exec(compiled, names)  # our own source text, with a literal of ours in it
    made = _plain(names[function.__name__])
    if made is None or made.__code__.co_freevars != function.__code__.co_freevars:
        raise MutantGone("mutant-gone", f"{target} cannot be rewritten by itself")
    return _Planted(function, function.__code__, made.__code__)


def _found(target: str) -> FunctionType:
    module_name, _, path = target.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
    except (ImportError, AttributeError):
        raise MutantGone("mutant-gone", f"there is no {target}") from None
    function = _plain(found)
    if function is None:
        raise MutantGone("mutant-gone", f"{target} is no function")
    return function


def _plain(found: object) -> FunctionType | None:
    """The function behind a property, a class method or the like."""
    if isinstance(found, property):
        found = found.fget
    elif isinstance(found, functools.cached_property):
        found = found.func
    elif isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return found if isinstance(found, FunctionType) else None
