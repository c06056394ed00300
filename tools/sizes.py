"""Names what is larger than a reader holds at once: functions of more than 40 lines, modules of more than 300."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("shared/src", "services/*/src", "examples", "images", "tools")
MOST_OF_A_FUNCTION = 40
MOST_OF_A_MODULE = 300


def too_large(file: Path) -> Iterator[str]:
    """Yield a line for the module, if it is too large, and for each such function in it."""
    text = file.read_text(encoding="utf-8")
    if (lines := text.count("\n")) > MOST_OF_A_MODULE:
        yield f"{file}: {lines} lines, and a module has at most {MOST_OF_A_MODULE}: split it by noun"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_OF_A_FUNCTION:
                yield f"{file}:{node.lineno}: {node.name} has {lines} lines, a function at most {MOST_OF_A_FUNCTION}"


def main() -> int:
    """Print what is too large."""
    files = sorted(file for place in PLACES for folder in ROOT.glob(place) for file in folder.rglob("*.py"))
    found = [line for file in files for line in too_large(file)]
    print("\n".join(found), end="\n" * bool(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
