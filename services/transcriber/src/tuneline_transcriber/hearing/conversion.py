"""Whisper as Hugging Face's transformers writes it, made into weights of CTranslate2 without torch.

The mapping of names is that of CTranslate2's own converter for transformers, which needs the model in torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, Field, ValidationError

from tuneline.errors import UserError
from tuneline.model.weights import read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.generic]]

CONFIG, TOKENS = "config.json", "tokenizer.json"
_COPIED = ("preprocessor_config.json", "tokenizer.json")


class _Shape(BaseModel):
    """What config.json says."""

    model_type: str = Field(pattern="^whisper$")
    encoder_layers: int = Field(ge=1, le=200)
    encoder_attention_heads: int = Field(ge=1, le=200)
    decoder_layers: int = Field(ge=1, le=200)
    decoder_attention_heads: int = Field(ge=1, le=200)
    vocab_size: int = Field(ge=1, le=1_000_000)


class _Generation(BaseModel):
    """What generation_config.json says, where it is there."""

    suppress_tokens: list[int] | None = None
    begin_suppress_tokens: list[int] | None = None
    alignment_heads: list[tuple[int, int]] | None = None
    lang_to_id: dict[str, int] | None = None


class _Linear(Protocol):
    weight: object
    bias: object


def is_foreign(folder: Path) -> bool:
    """Tell whether a folder has the weights of transformers, and none of CTranslate2."""
    return not (folder / "model.bin").exists() and bool(_files(folder))


def converted(folder: Path, dest: Path) -> Path:
    """Write a Whisper with 8 bits for CTranslate2. Raises UserError where it is none, or not whole."""
    from ctranslate2.specs import WhisperSpec
    from safetensors import SafetensorError

    try:
        shape = _Shape.model_validate_json((folder / CONFIG).read_bytes())
        said = folder / "generation_config.json"
        generation = _Generation.model_validate_json(said.read_bytes() if said.exists() else b"{}")
        spec = WhisperSpec(
            shape.encoder_layers, shape.encoder_attention_heads, shape.decoder_layers, shape.decoder_attention_heads
        )
        _fill(spec, _tensors(folder), shape)
        _describe(spec.config, generation, shape)
        spec.register_vocabulary(_vocabulary(folder, shape.vocab_size))
        spec.validate()
        spec.optimize(quantization="int8")
        dest.mkdir(parents=True, exist_ok=True)
        spec.save(str(dest))
    except (ValidationError, SafetensorError, OSError, KeyError, ValueError, TypeError) as e:
        raise UserError(
            f"speech_model: it is no whole Whisper of transformers ({type(e).__name__}); it needs config.json, "
            "tokenizer.json and model.safetensors"
        ) from None
    for name in _COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, dest / name)
    return dest


def _files(folder: Path) -> list[Path]:
    """Return the files of weights: one, or as many as the model is cut into."""
    whole = folder / "model.safetensors"
    return [whole] if whole.exists() else sorted(folder.glob("model-*-of-*.safetensors"))


def _tensors(folder: Path) -> Tensors:
    return {name: value for file in _files(folder) for name, value in _read(file).items()}


def _read(file: Path) -> Tensors:
    """Return the tensors of a file; those in bfloat16, which numpy does not know, as the same numbers in 32 bits."""
    import numpy as np
    from safetensors import safe_open

    tensors, start = read_header(file, "speech_model")
    found: dict[str, NDArray[np.generic]] = {}
    with safe_open(file, framework="np") as weights:
        for name, tensor in tensors.items():
            if tensor.dtype == "BF16":  # the upper half of 32 bits
                count = (tensor.data_offsets[1] - tensor.data_offsets[0]) // 2
                halves = np.fromfile(file, "<u2", count, offset=start + tensor.data_offsets[0])
                found[name] = (halves.astype(np.uint32) << 16).view(np.float32).reshape(tensor.shape)
            else:
                found[name] = weights.get_tensor(name)
    return found


def _fill(spec: object, tensors: Tensors, shape: _Shape) -> None:
    """Put the tensors where CTranslate2 has them."""
    encoder, decoder = spec.encoder, spec.decoder  # type: ignore[attr-defined]  # its specs have no types
    for conv in ("conv1", "conv2"):
        _linear(getattr(encoder, conv), tensors, [f"model.encoder.{conv}"])
    decoder.embeddings.weight = tensors["model.decoder.embed_tokens.weight"]
    decoder.projection.weight = tensors.get("proj_out.weight", decoder.embeddings.weight)
    for side, name, layers in (
        (encoder, "model.encoder", shape.encoder_layers), (decoder, "model.decoder", shape.decoder_layers)
    ):  # fmt: skip
        side.position_encodings.encodings = tensors[f"{name}.embed_positions.weight"]
        _norm(side.layer_norm, tensors, f"{name}.layer_norm")
        for number in range(layers):
            _layer(side.layer[number], tensors, f"{name}.layers.{number}")


def _layer(layer: object, tensors: Tensors, name: str) -> None:
    own, ffn = layer.self_attention, layer.ffn  # type: ignore[attr-defined]
    _linear(own.linear[0], tensors, [f"{name}.self_attn.{part}_proj" for part in "qkv"])
    _linear(own.linear[1], tensors, [f"{name}.self_attn.out_proj"])
    _norm(own.layer_norm, tensors, f"{name}.self_attn_layer_norm")
    if f"{name}.encoder_attn.q_proj.weight" in tensors:
        across = layer.attention  # type: ignore[attr-defined]
        _linear(across.linear[0], tensors, [f"{name}.encoder_attn.q_proj"])
        _linear(across.linear[1], tensors, [f"{name}.encoder_attn.{part}_proj" for part in "kv"])
        _linear(across.linear[2], tensors, [f"{name}.encoder_attn.out_proj"])
        _norm(across.layer_norm, tensors, f"{name}.encoder_attn_layer_norm")
    _linear(ffn.linear_0, tensors, [f"{name}.fc1"])
    _linear(ffn.linear_1, tensors, [f"{name}.fc2"])
    _norm(ffn.layer_norm, tensors, f"{name}.final_layer_norm")


def _linear(spec: _Linear, tensors: Tensors, names: Sequence[str]) -> None:
    """Join layers into one; Whisper's keys have no bias, which is then zero."""
    import numpy as np

    weights = [tensors[f"{name}.weight"] for name in names]
    zeros = [np.zeros(len(weight), weight.dtype) for weight in weights]
    spec.weight = np.concatenate(weights)
    spec.bias = np.concatenate([tensors.get(f"{name}.bias", zero) for name, zero in zip(names, zeros, strict=True)])


def _norm(spec: object, tensors: Tensors, name: str) -> None:
    spec.gamma, spec.beta = tensors[f"{name}.weight"], tensors[f"{name}.bias"]  # type: ignore[attr-defined]


def _describe(config: object, generation: _Generation, shape: _Shape) -> None:
    """Say which tokens are languages, and which are never said."""
    heads = product(range(shape.decoder_layers // 2, shape.decoder_layers), range(shape.decoder_attention_heads))
    config.suppress_ids = generation.suppress_tokens or []  # type: ignore[attr-defined]
    config.suppress_ids_begin = generation.begin_suppress_tokens or []  # type: ignore[attr-defined]
    config.alignment_heads = generation.alignment_heads or list(heads)  # type: ignore[attr-defined]
    config.lang_ids = sorted((generation.lang_to_id or {}).values())  # type: ignore[attr-defined]


def _vocabulary(folder: Path, size: int) -> list[str]:
    """Return the tokens in their order; times, which some files leave out, come last."""
    content = json.loads((folder / TOKENS).read_bytes())
    added = {one["content"]: one["id"] for one in content["added_tokens"]}
    known: dict[str, int] = {**content["model"]["vocab"], **added}
    tokens = [token for token, _ in sorted(known.items(), key=lambda item: item[1])][:size]
    return tokens + [f"<|{place * 0.02:.2f}|>" for place in range(size - len(tokens))]
