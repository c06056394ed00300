"""What the base model is, read from its config and the headers of its weights; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from tuneline.errors import UserError
from tuneline.model.base_model import as_listed, read_checkpoint

NO_LAYERS = ("embed_tokens", "lm_head")
Size = Annotated[int, Field(gt=0, lt=1 << 31)]


class Architecture(BaseModel):
    """The figures of a decoder that decide which attention kernel is right and how much memory training takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    max_position_embeddings: Size
    vocab_size: Size
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
    checkpoint = read_checkpoint(folder)
    if checkpoint.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"base_model: config.json: model_type {checkpoint.model_type!r} is no text model that transformers knows, "
            "and code that comes with a model is never run: choose another base model"
        )
    with as_listed(folder) as listed:
        try:
            config = AutoConfig.from_pretrained(listed, trust_remote_code=False, local_files_only=True)
            architecture = Architecture.model_validate(config.get_text_config().to_dict())
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(f"base_model: config.json: {field} is missing or no number that makes sense") from None
        except Exception as error:  # noqa: BLE001  (each configuration class raises what it happens to)
            raise UserError(_unreadable("config.json", error)) from None
    return BaseModelFacts(folder, architecture, checkpoint.shapes)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer as TRL wants it. Raises UserError when transformers cannot read what `tokenizers` can."""
    with as_listed(folder) as listed:
        try:
            return AutoTokenizer.from_pretrained(listed, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # noqa: BLE001  (each tokenizer class raises what it happens to)
            raise UserError(_unreadable("tokenizer_config.json", error)) from None


def _unreadable(file: str, error: Exception) -> str:
    kind = type(error).__name__
    return f"base_model: {file}: transformers cannot read it ({kind}): copy it again, or choose another base model"
