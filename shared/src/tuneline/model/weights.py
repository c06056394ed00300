"""The header of a file of weights (safetensors): names, shapes and formats, read without a library and the weights.

And what lies in a folder in their place, by the names that other programs give.

The format: eight bytes with the header's length, the header as JSON, then the tensors without gaps.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tuneline.errors import UserError
from tuneline.parsing.patterns import by_number
from tuneline.parsing.problems import printable, shortened
from tuneline.parsing.text import ONLY_A_POINTER, POINTER

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_AT_ONCE = 1 << 20

# fmt: off
_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}
# fmt: on
PLAIN = ("F64", "F32", "BF16", "F16")
"""Formats of a weight that is what it says, not a code for it."""
# What GPTQ, AWQ, bitsandbytes, compressed-tensors, FP8, MXFP4 and MLX write beside their codes, or instead of weights.
_QUANTISED = re.compile(
    r"\.(?:qweight|qzeros|g_idx|scales|SCB|weight_(?:packed|scale|scale_2|scale_inv|zero_point|format|shape))$"
    r"|\.weight\.(?:absmax|quant_map|nested_|quant_state)|_(?:blocks|scales)$"
)
_UNMERGED = re.compile(r"\.(?:lora_\w+|base_layer|modules_to_save)\.")
_WRAPPED = re.compile(r"^(?:module|base_model\.model|_forward_module)\.|(?:^|\.)(?:_orig_mod|_fsdp_wrapped_module)\.")
EMPTY = (
    " is empty, as DeepSpeed's ZeRO 3 leaves weights that are not gathered: save it again with "
    "stage3_gather_16bit_weights_on_model_save"
)
"""What to say of a weight without numbers."""
_SENSES = re.compile(r"visi|visual|image|audio|speech")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d{1,5})\.")
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|embed_in|word_embeddings)\.weight$")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output|output_layer|decoder)\.weight$")
# Where an embedding has a width of its own.
_NARROW = ("embedding_size", "input_embedding_size", "embedding_dim", "word_embed_proj_dim")
_OTHERWISE = ("hrm_text", "moshi")
"""Models that count layers or tokens otherwise, of all that transformers knows."""
Size = Annotated[int, Field(ge=0, lt=1 << 63)]


class Tensor(BaseModel):
    """What a header says of a tensor."""

    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: str
    shape: tuple[Size, ...]
    data_offsets: Annotated[list[Size], Field(min_length=2, max_length=2)]


_HEADER = TypeAdapter(dict[str, Tensor | dict[str, str]])


def read_shapes(file: Path, port: str = "base_model") -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a safetensors file, by name. Raises UserError when it is damaged."""
    return {name: tensor.shape for name, tensor in read_tensors(file, port).items()}


def read_tensors(file: Path, port: str = "base_model") -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, by name. Raises UserError when it is damaged."""
    return read_header(file, port)[0]


def quantised(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a tensor by which a model's weights are codes of fewer bits, None where there is none.

    What is no matrix, or no weight, may be whole numbers: masks and positions of older models.
    """
    for name, tensor in tensors.items():
        coded = name.endswith(".weight") and len(tensor.shape) > 1 and tensor.dtype not in PLAIN
        if coded or _QUANTISED.search(name):
            return name
    return None


def refuse_wrapped(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError for weights of a base model as they were within a program that trained them."""
    for name, shape in shapes.items():
        if 0 in shape:
            raise UserError(f"base_model: {printable(name)}{EMPTY}")
        if _UNMERGED.search(name):
            raise UserError(
                f"base_model: {printable(name)}: an adapter lies unmerged among its weights. Merge it where it was "
                "trained (merge_and_unload), or give the model without it, and the adapter as the input `adapter`"
            )
        if _WRAPPED.search(name):
            raise UserError(
                f"base_model: {printable(name)}: its weights have the names that a program gave them which trained in "
                "parts or compiled. Load the model there, unwrap it and save it with save_pretrained"
            )


def refuse_unfit(config: Mapping[str, object], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError for weights that are not those of the model that the config describes, as far as it says so.

    Else those that are missing would be noticed when the model is loaded, after all that comes before a training.
    """
    if config.get("model_type") in _OTHERWISE:
        return
    own = text_part(config)
    said = {**config, **own}
    names = [name for name in shapes if "language_model." in name] or [n for n in shapes if not _SENSES.search(n)]
    found = _layers_in(names)
    layers = said.get("num_hidden_layers", said.get("n_layer"))
    further = any("nextn" in key or "mtp" in key for key in said)  # layers that foresee, behind the others
    if found and isinstance(layers, int) and (found < layers or (found > layers and not further)):
        raise _unfit(f"num_hidden_layers {layers}, and there are weights of {found} layers")
    for name in filter(_EMBEDDING.search, names):
        sizes = [said.get("vocab_size"), None if any(map(said.get, _NARROW)) else said.get("hidden_size")]
        for size, key, there in zip(sizes, ("vocab_size", "hidden_size"), shapes[name], strict=False):
            if isinstance(size, int) and 0 < size != there and (there < size or own is config):  # more rows for images
                raise _unfit(f"{key} {size}, and {printable(name)} is {'×'.join(map(str, shapes[name]))}")
    if config.get("tie_word_embeddings") is False and own is config and not any(map(_HEAD.search, shapes)):
        raise _unfit("tie_word_embeddings false, and there is no lm_head.weight, with which it would say tokens")


def has_layers_that_foresee(config: Mapping[str, object], names: Iterable[str]) -> bool:
    """Tell whether among weights are those of layers that foresee further tokens, behind the others or as `mtp`."""
    known = list(names)
    layers = {**config, **text_part(config)}.get("num_hidden_layers")
    return any(".mtp." in f".{name}" for name in known) or (isinstance(layers, int) and _layers_in(known) > layers)


def _layers_in(names: Iterable[str]) -> int:
    return max((int(part[1]) + 1 for name in names if (part := _LAYER.search(name))), default=0)


def text_part(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return what a config says of the part that writes text: its `text_config` if the model also sees, else itself."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def _unfit(what: str) -> UserError:
    return UserError(f"base_model: config.json says {what}: take config and weights of one model, and all of them")


def zeros(file: Path, port: str) -> set[str]:
    """Return the names of the tensors of a small file whose numbers are all 0. Raises UserError when it is damaged."""
    tensors, start = read_header(file, port)
    found = set()
    with file.open("rb") as weights:
        for name, tensor in tensors.items():
            weights.seek(start + tensor.data_offsets[0])
            left, zero = tensor.data_offsets[1] - tensor.data_offsets[0], True
            while left and zero:
                part = weights.read(min(left, _AT_ONCE))
                left, zero = left - len(part), not part.strip(b"\0")
            if zero:
                found.add(name)
    return found


def read_header(file: Path, port: str) -> tuple[dict[str, Tensor], int]:
    """Return the tensors by name, and where in the file the first begins."""
    try:
        with file.open("rb") as weights:
            if weights.read(len(POINTER)) == POINTER:
                raise UserError(f"{port}: {file.name} {ONLY_A_POINTER}")
            weights.seek(0)
            length = int.from_bytes(weights.read(8), "little")
            header = weights.read(length) if length <= MAX_HEADER_BYTES else b""
        found = _HEADER.validate_json(header)
        tensors = {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
        _refuse_gaps(tensors, file.stat().st_size - 8 - length)
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise UserError(f"{port}: {file.name} is damaged ({type(error).__name__}): copy it again") from None
    return tensors, 8 + length


EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
"""What a model of text alone reads tokens with, and says them with, by the names in its files."""


def bare_name(name: str) -> str:
    """Return a weight's name without the parts that files, and transformers in memory, put differently before it.

    Of a model that also sees, `language_model.model.layers.0…` of the file is `model.language_model.layers.0…` there.
    """
    return re.sub(r"^(?:(?:model|language_model)\.)+", "", name)


def names_in_files(shapes: Iterable[str]) -> dict[str, str]:
    """Return the names of weights by their bare names; without those that two weights share."""
    found: dict[str, list[str]] = {}
    for name in shapes:
        found.setdefault(bare_name(name), []).append(name)
    return {bare: names[0] for bare, names in found.items() if len(names) == 1}


def _refuse_gaps(tensors: dict[str, Tensor], size: int) -> None:
    """Raise ValueError unless the tensors fill `size` bytes, each as its shape says."""
    spans = sorted(tuple(tensor.data_offsets) for tensor in tensors.values())
    borders = [(0, 0), *spans, (size, size)]
    if any(end != start for (_, end), (start, _) in pairwise(borders)):
        raise ValueError("the tensors do not fill the file")
    for tensor in tensors.values():
        start, end = tensor.data_offsets
        if (end - start) * 8 != math.prod(tensor.shape) * _BITS[tensor.dtype]:
            raise ValueError("a tensor has another size than its shape")


_SAVE = "load the model once where you trust it and save it with save_pretrained"
_AS_OTHERS_KEEP_THEM = (
    (r"pytorch_model_fsdp_\d+|.+\.distcp", "pieces of FSDP. `accelerate merge-weights FOLDER NEW` joins them"),
    (
        r"global_step\d+|zero_to_fp32\.py",
        "pieces of DeepSpeed. `python zero_to_fp32.py . NEW --safe_serialization`, run there, joins them",
    ),
    (r".+\.gguf", "a GGUF file, which is made for use, not for training. Give what it was made from"),
    (r"consolidated.*\.safetensors|tekken\.json", "in Mistral's own layout: take config.json and model*.safetensors"),
    (
        r"consolidated.*\.pth",
        "in Meta's own layout: take config.json and model*.safetensors, or convert them with transformers",
    ),
    (r".+\.nemo|iter_\d{7}|mp_rank_\d+", "of NeMo or Megatron: export the model with it to Hugging Face's layout"),
    (r".+\.(h5|msgpack|onnx|npz|tflite)", "for another library: take a revision with model*.safetensors"),
    (
        r"(?!optimizer|scheduler|scaler|rng_state|training_args).+\.(bin|pt|pth|ckpt|pkl)",
        f"a format that can run code when it is read. Take a revision with safetensors, or {_SAVE}",
    ),
)
"""Names of files and folders in which programs keep weights that are not read here, and what to say of them."""


def instead_of(missing: Path) -> str:
    """Say what to give in place of a folder without this file, or of the one file that was given as the folder."""
    folder = missing.parent
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [folder.name]
    if deeper := _folders_with(folder, missing.name):
        return f"it stands in folders like {printable(deeper[-1])}: give the one that you mean"
    if missing.name == "config.json" and "adapter_config.json" in names:
        return "this is an adapter. Give it as the input `adapter`, and here the model that it was trained on"
    if missing.name == "adapter_config.json" and "config.json" in names:
        return "this is a whole model, whose adapter is merged already. Give it as `base_model`, without `adapter`"
    if folder.name.endswith(".safetensors"):
        return "give the folder that it lies in"
    fit = "that the training program saved" if missing.name == "adapter_config.json" else "in the Hugging Face layout"
    return kept_otherwise(names) or f"give a folder {fit}"


def without_weights(folder: Path) -> str:
    """Say what to do about a folder without weights that are read here."""
    names = sorted(path.name for path in folder.iterdir())
    if shards := [name for name in names if re.fullmatch(r".+-\d{5}-of-\d{5}\.safetensors", name)]:
        return (
            f"model.safetensors.index.json is missing, which says what is in {printable(shards[0])}: copy the whole "
            "model, or give one file of all weights the name model.safetensors"
        )
    if deeper := _folders_with(folder, "model*.safetensors"):
        return f"the weights stand in folders like {printable(deeper[-1])}, which must hold all: give the one you mean"
    if "adapter_model.safetensors" in names:
        return "these are the weights of an adapter. Give it as `adapter`, and here the model that it was trained on"
    none = "no model.safetensors or model.safetensors.index.json: give a folder that holds the weights"
    return kept_otherwise(names) or none


def kept_otherwise(names: Sequence[str]) -> str | None:
    """Say in which form that is not read here a folder with these names holds weights; None if it holds none."""
    for pattern, what in _AS_OTHERS_KEEP_THEM:
        if found := [name for name in names if re.fullmatch(pattern, name)]:
            return f"weights are only there as {shortened(found)}, {what}"
    return None


def _folders_with(folder: Path, name: str) -> list[str]:
    """Return the folders in `folder`, up to two deep, with such a file; what was written last comes last."""
    found = {path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{name}")}
    return sorted((path.relative_to(folder).as_posix() for path in found), key=by_number)
