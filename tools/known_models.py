"""Writes which models transformers trains and llama.cpp converts; with --check, says when that is stale."""

from __future__ import annotations

import ast
import json
import sys

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tuneline.model import llama_cpp
from tuneline.model.known_models import PLACE


def known() -> str:
    """Return the content of known_models.json."""
    source = (llama_cpp.converter().parent / "conversion" / "__init__.py").read_text()
    maps = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign) and node.value]
    [found] = [node.value for node in maps if isinstance(node.target, ast.Name) and node.target.id == "TEXT_MODEL_MAP"]
    assert found is not None
    lists = {"trains": sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES), "converts": sorted(ast.literal_eval(found))}
    return json.dumps(lists, indent=0) + "\n"


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
