"""The base model as it lies in its folder: a few files with known names, read as data. Nothing of it is ever run.

Whoever publishes a model decides what stands in its files. So only files on a list are fetched, read and copied, what
names code or a place elsewhere is left out of the copies, and a folder with code in it is refused. Weights are read as
safetensors alone: pickles can run code, and where they lie beside safetensors they are passed over.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tuneline.errors import UserError
from tuneline.model.weights import (
    instead_of,
    quantised,
    read_tensors,
    refuse_unfit,
    refuse_wrapped,
    text_part,
    without_weights,
)
from tuneline.parsing.problems import printable
from tuneline.parsing.text import ONLY_A_POINTER, POINTER

CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
TEXT_FILES = (
    *CONFIGS,
    *("tokenizer.json", "tokenizer.model", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt"),
    *("chat_template.jinja", "chat_template.json"),
)
"""All that transformers and llama.cpp's converter need beside the weights."""

INDEX = "model.safetensors.index.json"
MODEL_FILES = (*TEXT_FILES, "README.md", INDEX, "[!c]*.safetensors", "c[!o]*.safetensors")
"""What stages read that need the weights, as patterns for `given`: all but Mistral's `consolidated*.safetensors`, which
hold them a second time."""

TOKENIZER_FILES = (
    *("config.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("tokenizer.json", "chat_template.jinja", "chat_template.json"),
)
"""What stages read that need no weights."""

MAX_JSON_BYTES = 1 << 28
"""256 MiB: a tokenizer.json of 256,000 tokens takes 35."""

_CODE = (".py", ".pyc")
# As transformers says it, as MLX does, and as compressed-tensors did.
_QUANTIZATIONS = ("quantization_config", "quantization", "compression_config")
# Keys by which a model asks for code (its own, or a kernel of the Hub), or names a place of the machine it was made on.
_LEFT_OUT = {
    *("auto_map", "custom_pipelines", "name_or_path", "_name_or_path", "vocab_file", "tokenizer_file"),
    *("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation"),
    "transformers_weights",
}


class Checkpoint(NamedTuple):
    """A model in the Hugging Face layout: its weight files, and the shape of every weight by name."""

    folder: Path
    files: tuple[Path, ...]
    shapes: dict[str, tuple[int, ...]]
    model_type: str

    @property
    def parameters(self) -> int:
        return sum(map(math.prod, self.shapes.values()))


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the facts of a model from its config and the headers of its weights; no weight is loaded.

    Raises UserError, with file and field, for a model that is damaged, incomplete or cannot be read safely.
    """
    refuse_code(folder)
    config = read_object(folder / "config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not re.fullmatch(r"[\w.-]{1,60}", model_type):
        raise UserError("base_model: config.json: model_type is missing or not a name: take a complete model")
    if any(map(config.get, _QUANTIZATIONS)):
        raise UserError(_quantised("config.json: quantization_config"))
    files = _weight_files(folder)
    in_files = {file.name: read_tensors(file) for file in files}
    weight_map = read_if_there(folder / INDEX).get("weight_map")
    for name, place in weight_map.items() if isinstance(weight_map, dict) else ():
        if name not in in_files[place]:
            raise UserError(f"base_model: {INDEX}: {printable(name)} is not in {place}: copy the whole model again")
    shapes = {name: tensor.shape for found in in_files.values() for name, tensor in found.items()}
    refuse_wrapped(shapes)
    if coded := next(filter(None, map(quantised, in_files.values())), None):
        raise UserError(_quantised(printable(coded)))
    refuse_unfit(config, shapes)
    return Checkpoint(folder, files, shapes, model_type)


def _quantised(where: str) -> str:
    return (
        f"base_model: {where}: these weights are quantised already, and can neither be trained nor merged exactly. "
        "Take the model that they were made from"
    )


def refuse_code(folder: Path) -> None:
    """Raise UserError when the folder of a base model holds code, or a link that leads out of it.

    In the Hub's cache what other programs have fetched lies beside our files.
    """
    if folder.is_file():
        raise UserError(f"base_model: {printable(folder.name)} is a file: {instead_of(folder / 'config.json')}")
    homes = homes_of_links(folder)
    root, cached = homes[0], len(homes) > 1
    for path in sorted(root.iterdir()):
        if path.name == "zero_to_fp32.py" and not any(root.glob("*.safetensors")):
            raise UserError(f"base_model: {without_weights(root)}")
        if path.suffix in _CODE and not cached:
            raise UserError(
                f"base_model: {printable(path.name)}: code that comes with a model is never run, so it must not lie in "
                "its folder. Remove it if transformers knows the model without it; else choose another base model"
            )
        if path.is_symlink() and not any(path.resolve().is_relative_to(home) for home in homes):
            raise UserError(
                f"base_model: {printable(path.name)} is a link that leads out of the folder. Put the file in its place"
            )


def homes_of_links(folder: Path) -> tuple[Path, ...]:
    """Return where links in a folder may lead: within it, and in the Hub's cache to the files that it keeps elsewhere.

    They lie in `blobs` of the repository, and what came through Xet in `blobs` of the whole cache.
    """
    root = folder.resolve()
    repository = root.parent.parent
    cached = root.parent.name == "snapshots"
    return (root, repository / "blobs", repository.parent / "blobs") if cached else (root,)


def context_tokens(folder: Path) -> int | None:
    """Return the model's context; None when its config.json is missing or does not say."""
    config = read_if_there(folder / "config.json")
    context = {**config, **text_part(config)}.get("max_position_embeddings")
    if context is not None and (type(context) is not int or not 0 < context < 1 << 31):
        raise UserError("base_model: config.json: max_position_embeddings: not a whole number above 0")
    return context


def hub_name(uri: str | None) -> str | None:
    """Return `org/name` of a model on the Hugging Face hub, None for any other address."""
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(@.*)?", uri or "")
    return found[1] if found else None


def copy_text_files(folder: Path, destination: Path) -> None:
    """Copy the files beside the weights, without what names code or another machine's places.

    They are the ORIGINAL ones: a tokenizer that transformers has saved again converts to another tokenizer.
    """
    for path in (folder / name for name in TEXT_FILES if (folder / name).is_file()):
        if path.name in CONFIGS:
            write_object(destination / path.name, read_object(path))
        else:
            shutil.copyfile(path, destination / path.name)


@contextmanager
def as_listed(folder: Path) -> Iterator[Path]:
    """Offer a folder that holds nothing but the files on the list, as `copy_text_files` does, and links to the weights.

    transformers takes what else it finds beside them: an `adapter_config.json` there decides which model it loads.
    """
    with TemporaryDirectory(prefix="tuneline-model-") as copy:
        copy_text_files(folder, Path(copy))
        if (folder / INDEX).is_file():
            index = read_object(folder / INDEX)
            about = index.get("metadata")  # transformers demands it, and indexes that other tools write may lack it
            write_object(Path(copy, INDEX), index | {"metadata": about if isinstance(about, dict) else {}})
        for file in folder.glob("*.safetensors"):
            Path(copy, file.name).symlink_to(file.absolute())
        yield Path(copy)


def write_object(path: Path, content: Mapping[str, object]) -> None:
    """Write a configuration without what names code or another machine's places, at any depth."""
    path.write_text(json.dumps(_cleaned(content), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_object(path: Path, port: str = "base_model") -> dict[str, object]:
    """Read a JSON object. Raises UserError with port and file."""
    text = read_text(path, port)
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        problem = f"{path.name} is not JSON from line {error.lineno} on: {_no_json(text, error.pos)}"
        raise UserError(f"{port}: {problem}") from None
    except (ValueError, RecursionError):  # a number of too many digits, half a character, far too deep
        raise UserError(f"{port}: {path.name} is not JSON: copy it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{port}: {path.name} is not a JSON object: copy it again")
    return content


def _no_json(text: str, place: int) -> str:
    """Say what people write into JSON that is none, as far as it can be seen at its first fault."""
    there = text[place : place + 2]
    if there in ("//", "/*") or there.startswith("#"):
        return "it has no comments. Take them out"
    before = text[:place].rstrip()
    if there[:1] in ("}", "]") and before.endswith(","):
        return "take out the comma before the bracket"
    return "copy it again"


def read_if_there(path: Path) -> dict[str, object]:
    """Read a JSON object of the base model; empty without the file."""
    return read_object(path) if path.exists() else {}


def read_text(path: Path, port: str = "base_model") -> str:
    """Read a text file of a model. Raises UserError when it is missing, not text or far too large."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{port}: {path.name} is larger than {MAX_JSON_BYTES >> 20} MiB: copy it again")
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{port}: {path.name} is missing: {instead_of(path)}") from None
    except OSError as error:
        raise UserError(f"{port}: {path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{port}: {path.name} is not UTF-8 text: copy it again") from None
    if text.startswith(POINTER.decode()):
        raise UserError(f"{port}: {path.name} {ONLY_A_POINTER}")
    return text


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the shards that the index names, or the single file."""
    if not (folder / INDEX).exists() and not (folder / "model.safetensors").is_file():
        raise UserError(f"base_model: {without_weights(folder)}")
    names = ["model.safetensors"]
    if (folder / INDEX).exists():
        weight_map = read_object(folder / INDEX).get("weight_map")
        found = weight_map.values() if isinstance(weight_map, dict) else ()
        names = sorted({name if isinstance(name, str) else "" for name in found}) or [""]
    if not all(re.fullmatch(r"[\w-][\w.-]*\.safetensors", name) for name in names):
        raise UserError(f"base_model: {INDEX}: weight_map names no safetensors files of this folder: copy it again")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise UserError(f"base_model: {INDEX} names {', '.join(missing[:5])}, which is missing: copy the whole model")
    return tuple(folder / name for name in names)


def _cleaned(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _cleaned(item) for key, item in value.items() if key not in _LEFT_OUT}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value
