"""The arms: what is known about the models behind them, and whether they may be compared at all.

An arm is a GGUF file, which the real llama-server serves here, or an endpoint that serves who knows what. Of an
endpoint, and of a file that the converter did not make, not everything can be verified: what is not known is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuneline.data.conversations import Arm
from tuneline.data.io import Closed, read_record
from tuneline.data.model_facts import ImportanceMatrix, ModelFacts
from tuneline.data.serving import LARGEST_DEFAULT_CONTEXT, SamplerParams
from tuneline.errors import UserError
from tuneline.model.base_model import context_tokens
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import read_header
from tuneline.model.llama_cpp import Placement
from tuneline.parsing.yaml import YamlFile, read_yaml
from tuneline.stage import Json, Maker
from tuneline_evaluator.conversations.endpoint import EndpointConfig, load_endpoint
from tuneline_evaluator.conversations.recorded import Recorded, is_recorded, read_recorded

_FILE_TYPES = """
    F32 F16 Q4_0 Q4_1 - - - Q8_0 Q5_0 Q5_1 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ2_XXS IQ2_XS
    Q2_K_S IQ3_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ3_M IQ2_S IQ2_M IQ4_XS IQ1_M BF16
""".split()  # noqa: SIM905  (in the order of the numbers of llama.cpp)
"""Quantisation by the number in a file's header (`general.file_type`)."""

MUST_MATCH = (
    "architecture", "parameters", "file_type", "template_sha256", "tokenizer_sha256", "converter", "llama_cpp",
    "base_model", "imatrix", "server", "computed_on", "context_tokens",
)  # fmt: skip
"""Facts that only the weights may escape: a difference in any of these would be measured as if training had made it."""


class ArmFacts(Closed):
    """What was served: everything that must be equal in both arms, and the file that must not. None is not known."""

    arm: Arm
    file: str | None
    """Name of the .gguf file."""
    endpoint: str | None = None
    """Model and server in place of a file."""
    bytes: int | None
    file_type: str | None
    """Quantisation."""
    architecture: str | None
    parameters: int | None
    template_sha256: str | None
    tokenizer_sha256: str | None
    converter: str | None
    llama_cpp: str | None
    """Version of the quantiser, from the conversion."""
    server: str | None
    """Version of llama-server that answered."""
    computed_on: str | None = None
    """Processor, or GPU and how many layers it computed."""
    base_model: str | None
    context_tokens: int | None
    """Tokens one conversation may use."""
    imatrix: ImportanceMatrix | None = None
    """What the quantiser was told of the weights' importance; None of a converted file is none."""
    tuned_from: str | None = None
    """What it was fine-tuned from, where its file or its making say that it was."""

    @property
    def name(self) -> str:
        """Name of what was served, for people."""
        return self.endpoint or self.file or self.arm


class Model(NamedTuple):
    """One arm and what is known of it. `identity` is the hash of its content, or an endpoint's settings."""

    arm: Arm
    source: Path | EndpointConfig | Recorded
    identity: str
    facts: ArmFacts


class Terms(NamedTuple):
    """What holds for all arms."""

    server: str
    """Version of llama-server."""
    placed: Placement
    context_tokens: int
    sampler: SamplerParams
    template_options: Mapping[str, bool | int | float | str]


def read_arm(arm: Arm, place: Path, info: Path | None, sha256: str, terms: Terms) -> Model:
    """Return an arm from what its input holds: a .gguf file or a folder with one, an endpoint's settings, or a .jsonl
    file with conversations that exist already.

    `info` is what the converter says of the file. Raises UserError when that or the input is unreadable, or when they
    do not belong together.
    """
    if is_recorded(place):
        unknown = dict.fromkeys(set(ArmFacts.model_fields) - {"arm", "file"})
        return Model(arm, read_recorded(arm, place), sha256, ArmFacts(arm=arm, file=place.name, **unknown))
    if is_file(place):
        served = read_model(arm, place, info, sha256, server=terms.server, context_tokens=terms.context_tokens)
        return served._replace(facts=served.facts.model_copy(update={"computed_on": str(terms.placed)}))
    return endpoint_arm(arm, read_yaml(place), terms)


def endpoint_arm(arm: Arm, source: YamlFile, terms: Terms) -> Model:
    """Return an arm from an endpoint's settings. Raises UserError that says what is wrong with them."""
    try:
        endpoint = load_endpoint(source, terms.sampler, terms.template_options)
    except UserError as error:
        raise UserError(f"{arm} arm: {error}") from None
    unknown = dict.fromkeys(set(ArmFacts.model_fields) - {"arm", "endpoint", "context_tokens"})
    facts = ArmFacts(arm=arm, endpoint=endpoint.label, context_tokens=terms.context_tokens, **unknown)
    return Model(arm, endpoint, json.dumps(endpoint.identity, sort_keys=True), facts)


def is_file(place: Path) -> bool:
    """Tell whether what is given for an arm is a .gguf file, or a folder with one, which our server is to serve."""
    if place.is_dir():
        return True
    with place.open("rb") as file:
        return file.read(4) == b"GGUF"


def endpoint_in(place: Path, sampler: SamplerParams) -> EndpointConfig | None:
    """Return the endpoint that is given for an arm, None where it is a file."""
    return None if is_file(place) or is_recorded(place) else load_endpoint(read_yaml(place), sampler, {})


def read_model(
    arm: Arm, place: Path, info: Path | None, sha256: str, *, server: str, context_tokens: int
) -> Model:  # fmt: skip
    """Return an arm's file and facts; without the converter's what its header says.

    Raises UserError when gguf.json is unreadable or names no file, and when the only .gguf file is not to be found.
    """
    try:
        path, known = _as_converted(place, info) if info else _as_found(place)
    except UserError as error:
        raise UserError(f"{arm} arm: {error}") from None
    size = path.stat().st_size
    facts = ArmFacts(arm=arm, file=path.name, bytes=size, server=server, context_tokens=context_tokens, **known)
    return Model(arm, path, sha256, facts)


def as_made(facts: ArmFacts, maker: Maker | None) -> ArmFacts:
    """Return an arm's facts with what the record of its making adds: a conversion of an adapter makes a fine-tune."""
    if facts.tuned_from or maker is None or "adapter" not in maker.inputs:
        return facts
    source = maker.inputs.get("base_model")
    return facts.model_copy(update={"tuned_from": (source and source.uri) or "an inline base model"})


_OF_FILES = {
    "file_type", "architecture", "parameters", "template_sha256", "tokenizer_sha256", "converter", "llama_cpp",
    "base_model", "imatrix",
}  # fmt: skip


def _as_converted(folder: Path, info: Path) -> tuple[Path, dict[str, Any]]:
    read = read_record(info, ModelFacts)
    path = folder / read.file
    if not path.is_file():
        raise UserError(f"{info.name} names a file that its model folder does not hold: {read.file}")
    return path, read.model_dump(include=_OF_FILES) | {"tuned_from": _tuned_from(read.metadata)}


def _as_found(place: Path) -> tuple[Path, dict[str, Any]]:
    files = sorted(place.glob("*.gguf")) if place.is_dir() else [place]
    if len(files) != 1:
        raise UserError(f"the folder holds {len(files)} .gguf files; give the one that is to answer")
    header = read_header(files[0])
    known: dict[str, Any] = {
        "file_type": _file_type(header.number("general.file_type")),
        "architecture": header.text("general.architecture") or None,
        "parameters": header.parameters,
        "template_sha256": header.template_sha256,
        "tokenizer_sha256": header.tokenizer_sha256,
    }
    return files[0], dict.fromkeys(_OF_FILES) | known | {"tuned_from": _tuned_from(header.about())}


def _tuned_from(said: Mapping[str, Json]) -> str | None:
    """Return what a file that the converter made of an adapter says that it comes from."""
    if said.get("general.dataset.0.name") != "slices":
        return None
    name, owner = said.get("general.base_model.0.name"), said.get("general.base_model.0.organization")
    return "/".join(str(part) for part in (owner, name) if part)


def _file_type(number: int | None) -> str | None:
    return _FILE_TYPES[number] if number is not None and 0 <= number < len(_FILE_TYPES) else None


def unequal_facts(base: ArmFacts, finetuned: ArmFacts) -> list[str]:
    """Return one sentence part per fact in which the arms differ, for example `file_type: Q4_K_M and F16`."""
    pairs = [(name, base.model_dump()[name], finetuned.model_dump()[name]) for name in MUST_MATCH]
    unknown = {*unverified_facts(base), *unverified_facts(finetuned)}
    names = base.arm, finetuned.arm
    return [f"{name}: {b} ({names[0]}) and {f} ({names[1]})" for name, b, f in pairs if b != f and name not in unknown]


def unverified_facts(arm: ArmFacts) -> list[str]:
    """Return the names of those facts of an arm that nobody can know, though they must be equal in both."""
    known = {"imatrix"} if arm.converter else set[str]()
    return [name for name in MUST_MATCH if arm.model_dump()[name] is None and name not in known]


def refuse_unequal(unequal: Sequence[str], allow_unequal: bool) -> None:
    """Raise UserError that names every difference, unless the run allows them."""
    if unequal and not allow_unequal:
        raise UserError(
            f"The arms differ in more than their weights, so a comparison would not be fair. {'; '.join(unequal)}. "
            "Make both with the same gguf-converter settings, or set `allow_unequal: true`; the report then says so."
        )


def refuse_other_template(base: ArmFacts, tokenizer: ChatTokenizer, allow_unequal: bool) -> None:
    """Raise UserError when the input `base_model` has another chat template than the arms, unless the run allows it.

    Its tokenizer decides where a system prompt goes and what would forge a turn, so it must be theirs.
    """
    if base.template_sha256 not in (None, tokenizer.template_sha256) and not allow_unequal:
        raise UserError(
            "The input `base_model` has another chat template than the base arm's file. Name the base model that the "
            "file was made from, or set `allow_unequal: true`."
        )


def model_context(base_model: Path | None) -> int:
    """Return the context that conversations get by default: the model's own, at most LARGEST_DEFAULT_CONTEXT tokens."""
    if base_model is None:
        return LARGEST_DEFAULT_CONTEXT
    if (size := context_tokens(base_model)) is None:
        raise UserError(
            "The base model's config.json does not say its context (max_position_embeddings). Set `context_tokens`."
        )
    return min(size, LARGEST_DEFAULT_CONTEXT)
