"""What the base model is, read from its config and the headers of its weights; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tuneline.errors import UserError
from tuneline.model.base_model import as_listed, read_checkpoint, read_object
from tuneline.model.known_models import refuse_untrainable
from tuneline.model.weights import text_part
from tuneline.parsing.problems import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NO_LAYERS = ("embed_tokens", "lm_head")
EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""What layers of experts are called, and what chooses between them."""
Size = Annotated[int, Field(gt=0, lt=1 << 31)]


class Architecture(BaseModel):
    """The figures of a decoder that decide which attention kernel is right and how much memory training takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model_type: str
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    max_position_embeddings: Size
    vocab_size: Size
    attn_logit_softcapping: float | None = None

    @property
    def capped(self) -> bool:
        """Whether attention scores are soft-capped, as in Gemma-2."""
        return self.attn_logit_softcapping is not None


@dataclass(frozen=True)
class BaseModelFacts:
    """A base model in a local folder: its architecture and the shape of every weight, by name."""

    folder: Path
    architecture: Architecture
    shapes: Mapping[str, tuple[int, ...]]


def linear_layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """Return (outputs, inputs) of every linear layer but the head: what 4-bit shrinks and an adapter can target."""
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight")}
    layers = {name.removesuffix(".weight"): (shape[0], shape[1]) for name, shape in matrices.items()}
    return {name: shape for name, shape in layers.items() if name.rpartition(".")[2] not in NO_LAYERS}


def text_layers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    """Return the linear layers of the part that writes text; only models that also see or hear have another one.

    Without those that bear no adapter: the last of a Mamba block, which alone has a weight D (its kernels read the
    weight past the layer, and PEFT refuses it), and what is named as layers of experts are (they lie in memory as one
    block, and PEFT would take any of these names for the block).
    """
    experts = EXPERTS if any(".experts." in name for name in shapes) else ()
    layers = {
        name: shape
        for name, shape in linear_layers(shapes).items()
        if name.rpartition(".")[2] not in experts and not _last_of_mamba(name, shapes)
    }
    named = {name: shape for name, shape in layers.items() if "language_model." in name}
    return named or layers


def _last_of_mamba(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    block, _, last = layer.rpartition(".")
    return last == "out_proj" and f"{block}.D" in shapes


def read_base_model(folder: Path) -> BaseModelFacts:
    """Read the facts. Raises UserError for anything but an architecture that transformers knows, in safetensors."""
    from transformers import AutoConfig

    checkpoint = read_checkpoint(folder)
    refuse_untrainable(checkpoint.model_type)
    with as_listed(folder) as listed:
        try:
            config = AutoConfig.from_pretrained(listed, trust_remote_code=False, local_files_only=True)
            architecture = Architecture.model_validate(config.get_text_config().to_dict())
        except ValidationError as error:
            raise _senseless(error.errors()[0]["loc"]) from None
        except Exception as error:  # noqa: BLE001  (each configuration class raises what it happens to)
            raise UserError(_unreadable("config.json", error)) from None
    return BaseModelFacts(folder, architecture, checkpoint.shapes)


def glance_at_base_model(folder: Path) -> tuple[BaseModelFacts | None, Mapping[str, tuple[int, ...]]]:
    """Read the facts without transformers, and so without the defaults that it knows; None if it takes those.

    The shapes are there in any case. Raises UserError as `read_base_model`, but for what only transformers notices.
    """
    checkpoint = read_checkpoint(folder)
    refuse_untrainable(checkpoint.model_type)
    config = read_object(folder / "config.json")
    try:
        architecture = Architecture.model_validate({**config, **text_part(config)})
    except ValidationError as error:
        if wrong := [problem for problem in error.errors() if problem["type"] != "missing"]:
            raise _senseless(wrong[0]["loc"]) from None
        return None, checkpoint.shapes
    return BaseModelFacts(folder, architecture, checkpoint.shapes), checkpoint.shapes


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer as TRL wants it. Raises UserError when transformers cannot read what `tokenizers` can."""
    from transformers import AutoTokenizer

    with as_listed(folder) as listed:
        try:
            return AutoTokenizer.from_pretrained(listed, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # noqa: BLE001  (each tokenizer class raises what it happens to)
            raise UserError(_unreadable("tokenizer_config.json", error)) from None


def _senseless(loc: tuple[int | str, ...]) -> UserError:
    field = printable(".".join(map(str, loc)))
    return UserError(f"base_model: config.json: {field} is missing or no number that makes sense")


def _unreadable(file: str, error: Exception) -> str:
    kind = type(error).__name__
    return f"base_model: {file}: transformers cannot read it ({kind}): copy it again, or choose another base model"
