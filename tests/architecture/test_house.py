"""The house's measures: no file too long to hold in mind, no error swallowed."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("chain", "consensus", "p2p", "wallet", "moot")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_files_and_functions_stay_short_enough_to_hold_in_mind() -> None:
    faults = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > FILE_LINES_MAX:
            faults.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    faults.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert not faults, "\n".join(faults)


def test_no_broad_except_hides_a_bug() -> None:
    faults = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                names = [node.type] if not isinstance(node.type, ast.Tuple) else node.type.elts
                if any(getattr(n, "id", "") in ("Exception", "BaseException") for n in names) or (
                    node.type is None
                ):
                    faults.append(f"{path.relative_to(ROOT)}: line {node.lineno}")
    assert not faults, "\n".join(faults)
