"""Which models can be trained and converted, by the versions of transformers and llama.cpp that are pinned.

`known_models.json` is written by tools/known_models.py, so that it can be looked up where neither is installed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel

from tuneline.errors import UserError
from tuneline.model.base_model import read_if_there, read_object
from tuneline.model.chat import ChatTokenizer
from tuneline.model.weights import text_part
from tuneline.parsing.problems import printable

_BY_PIECES = re.compile(r"(?:Gemma2?|Phi3|Ernie4_5(?:_Moe)?|Nemotron)_?For")
"""Architectures whose tokenizers of characters llama.cpp makes of tokenizer.model alone (`set_vocab` of each)."""

PLACE = Path(__file__).with_suffix(".json")


class KnownModels(BaseModel):
    """`trains` are values of `model_type`, `converts` names in `architectures` of a config.json.

    By the ids of `probe` llama.cpp tells how a tokenizer of bytes splits text before it merges: `splits` are the hashes
    that it knows (SHA-256 of the list of ids, as Python writes it).
    """

    trains: list[str]
    converts: list[str]
    probe: str
    splits: frozenset[str]


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
    names = _architectures(read_object(folder / "config.json"))
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


def refuse_unknown_split(folder: Path, chat: ChatTokenizer) -> None:
    """Raise UserError for a tokenizer of bytes that splits text as none does that llama.cpp knows.

    With a tokenizer.model the converter goes by that, and of some models by nothing else. transformers may add a first
    token of its own, so that each way of beginning is tried.
    """
    if (folder / "tokenizer.model").is_file():
        return
    if not chat.merges_bytes:
        _refuse_without_pieces(folder)
        return
    known = known_models()
    hashes = {hashlib.sha256(str(ids).encode()).hexdigest() for ids in chat.beginnings(known.probe)}
    if not hashes & known.splits:
        raise UserError(
            "base_model: tokenizer.json: llama.cpp's converter knows no BPE tokenizer that splits text as this one "
            "does. If it was changed or saved again, take the one that the model was published with; else choose "
            "another base model, or end the run before it with `goal: trainer`"
        )


def _refuse_without_pieces(folder: Path) -> None:
    if any(map(_BY_PIECES.match, _architectures(read_if_there(folder / "config.json")))):
        raise UserError(
            "base_model: tokenizer.model is missing, and llama.cpp's converter makes the tokenizer of this model of "
            "nothing else; who fine-tunes and saves a model often leaves it out. If no tokens were added, take it from "
            "the repository of the model that this one comes from; else end the run before it with `goal: trainer`"
        )


def _architectures(config: Mapping[str, object]) -> list[str]:
    """Return what a config.json calls the model, first the part that writes text."""
    lists = [part.get("architectures") for part in (text_part(config), config)]
    return [found[0] for found in lists if isinstance(found, list) and found and isinstance(found[0], str)]
