"""Which models can be trained and converted, by the versions of transformers and llama.cpp that are pinned.

`known_models.json` is written by tools/known_models.py, so that it can be looked up where neither is installed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel

from tuneline.errors import UserError
from tuneline.model.base_model import read_object
from tuneline.parsing.problems import printable

PLACE = Path(__file__).with_suffix(".json")


class KnownModels(BaseModel):
    """`trains` are values of `model_type`, `converts` names in `architectures` of a config.json."""

    trains: list[str]
    converts: list[str]


@cache
def known_models() -> KnownModels:
    """Return what is known."""
    return KnownModels.model_validate_json(PLACE.read_bytes())


def refuse_untrainable(model_type: str) -> None:
    """Raise UserError for a model that transformers has no language model of."""
    if model_type not in known_models().trains:
        raise UserError(
            f"base_model: config.json: model_type {model_type!r} is no text model that transformers knows, "
            "and code that comes with a model is never run: choose another base model"
        )


def refuse_unconvertible(folder: Path) -> None:
    """Raise UserError for a model that llama.cpp's converter does not know: it goes by `architectures`."""
    config = read_object(folder / "config.json")
    text = config.get("text_config")
    lists = [text.get("architectures") if isinstance(text, dict) else None, config.get("architectures")]
    names = [found[0] for found in lists if isinstance(found, list) and found and isinstance(found[0], str)]
    if not names:
        raise UserError("base_model: config.json: architectures is missing: llama.cpp's converter goes by it")
    if names[0] == "GptOssForCausalLM":
        raise UserError(
            "base_model: config.json: architectures: llama.cpp renders conversations of gpt-oss otherwise than its "
            "chat template does (another token ends the last answer): choose another base model, or end the run before "
            "it with `goal: trainer`"
        )
    if not set(names) & set(known_models().converts):
        raise UserError(
            f"base_model: config.json: architectures: llama.cpp's converter does not know {printable(names[0])}: "
            "choose another base model, or end the run before it with `goal: trainer`"
        )
