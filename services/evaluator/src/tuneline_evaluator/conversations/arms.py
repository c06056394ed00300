"""The two arms: what is known about their files, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tuneline.data.conversations import Arm
from tuneline.data.io import Closed, read_record
from tuneline.data.model_facts import ImportanceMatrix, ModelFacts
from tuneline.data.serving import LARGEST_DEFAULT_CONTEXT
from tuneline.errors import UserError
from tuneline.model.base_model import context_tokens
from tuneline.model.chat import ChatTokenizer

MUST_MATCH = (
    "architecture", "parameters", "file_type", "template_sha256", "tokenizer_sha256", "converter", "llama_cpp",
    "base_model", "imatrix", "server", "context_tokens",
)  # fmt: skip
"""Facts that only the weights may escape: a difference in any of these would be measured as if training had made it."""


class ArmFacts(Closed):
    """What was served: everything that must be equal in both arms, and the file that must not."""

    arm: Arm
    file: str
    """Name of the .gguf file."""
    bytes: int
    file_type: str
    """Quantisation."""
    architecture: str
    parameters: int
    template_sha256: str
    tokenizer_sha256: str
    converter: str
    llama_cpp: str
    """Version of the quantiser, from the conversion."""
    server: str
    """Version of llama-server that answered."""
    base_model: str
    context_tokens: int
    """Tokens one conversation may use."""
    imatrix: ImportanceMatrix | None = None


class Model(NamedTuple):
    """One arm's file and its facts. `sha256` identifies the file's content."""

    arm: Arm
    path: Path
    sha256: str
    facts: ArmFacts


def read_model(arm: Arm, folder: Path, info: Path, sha256: str, *, server: str, context_tokens: int) -> Model:
    """Return an arm's file and facts. Raises UserError when gguf.json is unreadable or names no file."""
    try:
        read = read_record(info, ModelFacts)
    except UserError as error:
        raise UserError(f"{arm} arm: {error}") from None
    path = folder / read.file
    if not path.is_file():
        raise UserError(f"{info.name} of the {arm} arm names a file that its model folder does not hold: {read.file}")
    shared = read.model_dump(include=set(ArmFacts.model_fields))
    facts = ArmFacts(arm=arm, bytes=path.stat().st_size, server=server, context_tokens=context_tokens, **shared)
    return Model(arm, path, sha256, facts)


def unequal_facts(base: ArmFacts, finetuned: ArmFacts) -> list[str]:
    """Return one sentence part per fact in which the arms differ, for example `file_type: Q4_K_M and F16`."""
    pairs = [(name, base.model_dump()[name], finetuned.model_dump()[name]) for name in MUST_MATCH]
    return [f"{name}: {b} (base) and {f} (finetuned)" for name, b, f in pairs if b != f]


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
    if base.template_sha256 != tokenizer.template_sha256 and not allow_unequal:
        raise UserError(
            "The input `base_model` has another chat template than the base arm's file. Name the base model that the "
            "file was made from, or set `allow_unequal: true`."
        )


def model_context(base_model: Path) -> int:
    """Return the context that conversations get by default: the model's own, at most LARGEST_DEFAULT_CONTEXT tokens."""
    if (size := context_tokens(base_model)) is None:
        raise UserError(
            "The base model's config.json does not say its context (max_position_embeddings). Set `context_tokens`."
        )
    return min(size, LARGEST_DEFAULT_CONTEXT)
