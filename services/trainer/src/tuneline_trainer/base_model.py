"""What the base model is, read from its config and the headers of its weights; nothing is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tuneline.errors import UserError

NO_LAYERS = ("embed_tokens", "lm_head")
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Architecture(BaseModel):
    """The figures of a decoder that decide which attention kernel is right and how much memory training takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    attn_logit_softcapping: float | None = None


@dataclass(frozen=True)
class BaseModelFacts:
    """A base model in a local folder: its architecture and the shape of every weight, by name."""

    folder: Path
    architecture: Architecture
    shapes: Mapping[str, tuple[int, ...]]

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Return (outputs, inputs) of every linear layer but the head: what 4-bit shrinks and an adapter can target."""
        matrices = {name: shape for name, shape in self.shapes.items() if len(shape) == 2 and name.endswith(".weight")}
        layers = {name.removesuffix(".weight"): (shape[0], shape[1]) for name, shape in matrices.items()}
        return {name: shape for name, shape in layers.items() if name.rpartition(".")[2] not in NO_LAYERS}


def read_base_model(folder: Path) -> BaseModelFacts:
    """Read the facts. Raises UserError for anything but an architecture that transformers knows, in safetensors."""
    return BaseModelFacts(folder, _architecture(folder), _shapes(weight_files(folder)))


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers will load: the shards that the index names, or the single file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_json(index)["weight_map"].values()))
    elif (folder / "model.safetensors").is_file():
        names = ["model.safetensors"]
    else:
        raise UserError(_no_weights(folder))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(f"base_model: {index.name} names {', '.join(missing)}, which is missing: copy the whole model")
    return [folder / name for name in names]


def _no_weights(folder: Path) -> str:
    pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern))
    if not pickled:
        return "base_model: no model.safetensors or model.safetensors.index.json: give a folder that holds the weights"
    return (
        f"base_model: weights are only there as {', '.join(pickled)}, a format that can run code when it is read. "
        "Take a revision with safetensors, or load the model once where you trust it and save it with save_pretrained"
    )


def _architecture(folder: Path) -> Architecture:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError("base_model: no config.json: give a folder in the Hugging Face layout")
    model_type = _json(path).get("model_type")
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"base_model: config.json: model_type {model_type!r} is no text model that transformers knows, "
            "and code that comes with a model is never run: choose another base model"
        )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        return Architecture.model_validate(config.get_text_config().to_dict())
    except (ValidationError, ValueError) as e:
        raise UserError(f"base_model: config.json does not describe a decoder that can be trained here: {e}") from None


def _shapes(files: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                shapes |= {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as e:
            raise UserError(f"base_model: {file.name} is damaged ({e}): copy it again") from None
    return shapes


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"base_model: {path.name} is not JSON: copy it again") from None
    if not isinstance(data, dict):
        raise UserError(f"base_model: {path.name} is not a JSON object: copy it again")
    return data
