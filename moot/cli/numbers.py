"""Lists of numbers as people type them."""

from __future__ import annotations

import re
from typing import Any, Final

import click

NUMBERS_MAX: Final = 10
"""Numbers in one list: each is a measurement of its own."""


class Numbers(click.ParamType[tuple[int, ...]]):
    """``3`` or ``3,5,7``: each from 1 to ``most``."""

    name = "N,N..."

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = str(value).split(",")
        if len(words) > NUMBERS_MAX or not all(re.fullmatch(r"\d{1,6}", word) for word in words):
            self.fail(f"{value!r} is no list of numbers such as 3,5,7", param, ctx)
        numbers = tuple(int(word) for word in words)
        if not all(1 <= number <= self.most for number in numbers):
            self.fail(f"each number is from 1 to {self.most}", param, ctx)
        return numbers
