"""Writes which models transformers trains, and which llama.cpp converts; with --check, says when that is stale."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tuneline.model import llama_cpp
from tuneline.model.known_models import PLACE


def known() -> str:
    """Return the content of known_models.json."""
    folder = llama_cpp.converter().parent / "conversion"
    maps = [node for node in _read(folder / "__init__.py").body if isinstance(node, ast.AnnAssign) and node.value]
    [found] = [node.value for node in maps if isinstance(node.target, ast.Name) and node.target.id == "TEXT_MODEL_MAP"]
    assert found is not None
    probe, hashes = _pre_tokenizers(_read(folder / "base.py"))
    lists = {"trains": sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), "converts": sorted(ast.literal_eval(found))}
    return json.dumps(lists | {"probe": probe, "splits": hashes}, indent=0) + "\n"


def _read(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _pre_tokenizers(module: ast.Module) -> tuple[str, list[str]]:
    """Return the text by which the converter knows pre-tokenizers, and the hashes of its ids that it compares with."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    [function] = [node for node in functions if node.name == "get_vocab_base_pre"]
    texts = [
        ast.literal_eval(node.value)
        for node in function.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    [probe] = texts
    compared = [node.comparators[0] for node in ast.walk(function) if isinstance(node, ast.Compare)]
    found = {str(node.value) for node in compared if isinstance(node, ast.Constant)}
    hashes = sorted(one for one in found if re.fullmatch("[0-9a-f]{64}", one))
    assert hashes
    return probe, hashes


def main() -> int:
    """Write the file, or compare it."""
    text = known()
    if "--check" not in sys.argv:
        PLACE.write_text(text)
    elif PLACE.read_text() != text:
        print(f"{PLACE.name} is not up to date: run `make format`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
