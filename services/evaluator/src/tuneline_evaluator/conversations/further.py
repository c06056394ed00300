"""Arms beside base and fine-tuned: other quantisations of the fine-tuned model, and models that a run gives by name.

The input `arms` is a mapping from names to endpoints, or a folder in which each arm is a .gguf file, a folder with one,
a .yaml file with an endpoint, or a .jsonl file with conversations that exist already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tuneline.data.conversations import Arm
from tuneline.data.io import file_sha256, read_record
from tuneline.data.model_facts import ModelFacts
from tuneline.data.serving import SamplerParams
from tuneline.errors import UserError
from tuneline.parsing.problems import printable, shortened
from tuneline.parsing.yaml import YamlFile, read_yaml
from tuneline_evaluator.conversations.arms import Model, Terms, endpoint_arm, read_arm
from tuneline_evaluator.conversations.endpoint import EndpointConfig, load_endpoint
from tuneline_evaluator.conversations.recorded import is_recorded

MOST_ARMS = 12
"""Beside base and fine-tuned; every pair of arms is tested, and their number grows with the square."""

_NAME = TypeAdapter(Arm)


def quantised(types: Sequence[str], folder: Path, info: Path | None, sha256: str, terms: Terms) -> Iterator[Model]:
    """Yield the fine-tuned model in other types than the one that is compared with the base.

    Raises UserError when the converter has not made one.
    """
    if not types:
        return
    if info is None:
        raise UserError("`evaluate`: names files that the converter made, and the fine-tuned model is given")
    facts, main = read_record(info, ModelFacts), read_arm("finetuned", folder, info, sha256, terms).facts
    for kind in types:
        file = next((name for name in facts.sizes if name.lower().endswith(f"-{kind.lower()}.gguf")), None)
        if file is None or file == facts.file:
            made = shortened([name for name in facts.sizes if name != facts.file]) or "there is none"
            raise UserError(f"`evaluate`: {kind} is none of the other files that the converter made: {made}")
        path, name = folder / file, kind.lower()
        changed = {"arm": name, "file": file, "file_type": kind, "bytes": path.stat().st_size}
        yield Model(name, path, f"{sha256}/{file}", main.model_copy(update=changed))


def named(arms: Path | None, terms: Terms) -> Iterator[Model]:
    """Yield the arms of the input `arms`. Raises UserError that names the one that cannot be read."""
    for name, source in sources(arms).items() if arms else ():
        if isinstance(source, Path):
            yield read_arm(name, source, None, _sha256(source), terms)
        else:
            yield endpoint_arm(name, source, terms)


def refuse_names(names: Sequence[str]) -> None:
    """Raise UserError for names that are no names of arms, for two of one name, and for too many."""
    for name in names:
        try:
            _NAME.validate_python(name)
        except ValidationError:
            raise UserError(f"arms: {printable(name)!r} is no name: a-z, 0-9, `.`, `_` and `-`, at most 32") from None
    if twice := sorted({name for name in names if names.count(name) > 1 or name in ("base", "finetuned")}):
        raise UserError(f"arms: {shortened(twice)}: each arm has a name of its own, and two have theirs already")
    if len(names) > MOST_ARMS:
        raise UserError(f"arms: {len(names)} are more than {MOST_ARMS}, beside base and fine-tuned")


def sources(arms: Path) -> dict[str, Path | YamlFile]:
    """Return the arms of the input `arms` by name: a file or folder, or what says where an endpoint is.

    Raises UserError where it holds something else.
    """
    if arms.is_dir():
        found = {name: source for place in sorted(arms.iterdir()) for name, source in _in_folder(place)}
        if not found:
            raise UserError(f"arms: {arms.name} holds no .gguf, .yaml or .jsonl file")
        return found
    read = read_yaml(arms)
    if not isinstance(read.content, dict) or not all(isinstance(one, dict) for one in read.content.values()):
        raise UserError(
            f"{read.where(())}: arms: is a mapping from names to endpoints (`provider: openai`, …), or a folder with a "
            ".gguf, .yaml or .jsonl file for each"
        )
    return {str(name): read.below(name) for name in read.content}


def endpoints_in(arms: Path, sampler: SamplerParams) -> list[EndpointConfig]:
    """Return those of the arms that are endpoints."""
    return [load_endpoint(one, sampler, {}) for one in sources(arms).values() if not isinstance(one, Path)]


def _in_folder(place: Path) -> Iterator[tuple[str, Path | YamlFile]]:
    if place.is_dir():
        yield place.name, place
    elif place.suffix == ".gguf" or is_recorded(place):
        yield place.stem, place
    elif place.suffix in (".yaml", ".yml", ".json"):
        yield place.stem, read_yaml(place)


def _sha256(place: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(place.glob("*.gguf")) if place.is_dir() else [place]:
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()
