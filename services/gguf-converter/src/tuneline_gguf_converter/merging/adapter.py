"""The adapter as it lies in its folder, read from its headers and compared with the base model's; nothing is loaded.

It may come from elsewhere: PEFT and what trains with it (Unsloth, axolotl, LLaMA-Factory), or mlx-lm. What its files
say of the merge is either done or refused, also what a later version of these programs invents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tuneline.data.io import Closed
from tuneline.errors import UserError
from tuneline.model.base_model import Checkpoint, hub_name, read_object
from tuneline.model.chat import ChatTokenizer
from tuneline.model.chat_template import Messages, find_template, read_chat_settings
from tuneline.model.tokenizer import encoded, read_tokenizer
from tuneline.model.weights import EMBEDDING, EMPTY, HEAD, bare_name, kept_otherwise, names_in_files, read_shapes, zeros
from tuneline.parsing.problems import printable
from tuneline.stage import InputRecord
from tuneline_gguf_converter.merging.adapter_formula import Formula, read_formula

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Shapes = Mapping[str, tuple[int, ...]]
_UNTIED = ("llama", "qwen2", "qwen3", "smollm3", "phi3")
"""Model types with which it is tested that llama.cpp reads tokens with one weight and says them with another."""
_EMBEDDINGS = re.compile(r"(^|\.)(embed_tokens|lm_head|wte|embed_in|embed_out|word_embeddings)\.weight$")
# What wrappers leave in the names of a model that was trained in parts, or compiled.
_WRAPPERS = re.compile(r"_fsdp_wrapped_module\.|_orig_mod\.|^module\.")
_PARTS = re.compile(
    r"(?P<layer>.+)\.(?:lora_(?P<half>[AB])(?:\.default)?\.weight|lora_embedding_(?P<row_half>[AB])(?:\.default)?"
    r"|lora_(?P<mlx_half>[ab])|(?P<magnitude>lora_magnitude_vector)(?:\.default)?(?:\.weight)?)"
)
_WHOLE = re.compile(r"(?P<layer>.+?)(?:\.modules_to_save)?(?:\.default)?(?:\.base_layer)?\.(?P<kind>weight|bias)")

# What is added to the name of a model for a copy of it with other bits, or in another form.
_COPY = re.compile(r"(-(unsloth|bnb|nf4|mlx|[48]bit|awq|gptq|int[48]|fp8|dynamic|bf16|fp16|hf))+$")

_QUESTION, _ANSWER = {"role": "user", "content": "Is it late?"}, {"role": "assistant", "content": "No."}
_SYSTEM = {"role": "system", "content": "Be brief."}
_ASKED: tuple[tuple[Messages, bool], ...] = (
    ([_QUESTION], True),
    ([_QUESTION, _ANSWER, _QUESTION, _ANSWER], False),
    ([_SYSTEM, _QUESTION, _ANSWER, _QUESTION], True),
)
"""Conversations by which templates are told apart, and whether an answer is asked for."""


class Change(Closed):
    """What is added to a weight: scaling · up·down, turned if `turned`; `up`, `down` and `magnitude` are names."""

    up: str
    down: str
    turned: bool
    scaling: float
    magnitude: str | None = None


class Adapter(Closed):
    """An adapter for one base model: its parts by the base model's names of the weights that they belong to."""

    file: Path
    changes: dict[str, Change]
    replaced: dict[str, str]
    """Weights that were trained as a whole, by their name in `file`."""
    unties: bool = False
    """The model gets a weight HEAD of its own to say tokens with, where the base model takes EMBEDDING for it."""


class _Found(Closed):
    """The parts of one layer, by their names in the adapter's file."""

    halves: dict[str, str]
    rows: bool = False
    """The layer looks rows up, as an embedding does: its weight lies the other way round."""


def read_adapter(folder: Path, base: Checkpoint, record: InputRecord | None = None) -> Adapter:
    """Read the facts of the adapter. Raises UserError when it was not made for `base`, or cannot be merged exactly.

    `record` says where the base model came from and what it contains; None while only the headers may be there.
    """
    config = read_object(folder / "adapter_config.json", "adapter")
    formula = read_formula(config)
    if record:
        _check_base_name(config, record.uri, record.sha256)
    file = folder / formula.file
    if not file.is_file():
        raise UserError(_no_weights(folder, formula.file))
    shapes = read_shapes(file, "adapter")
    layers, whole = _sort_out(shapes)
    unties = _unties(base, formula)
    if unties:
        base = base._replace(shapes={**base.shapes, HEAD: base.shapes[EMBEDDING]})
    places = names_in_files(base.shapes)
    changes = {}
    for layer, found in layers.items():
        target = _in_base(f"{layer}.weight", base, places)
        changes[target] = _change(target, layer, found, formula, shapes, base.shapes)
    replaced = {_in_base(name, base, places): key for name, key in whole.items()}
    unties = unties and bool({EMBEDDING, HEAD} & {*changes, *replaced})
    adapter = Adapter(file=file, changes=changes, replaced=replaced, unties=unties)
    _check_whole(adapter, shapes, base)
    if unties:
        _check_both(adapter, config)
    else:
        _check_embeddings(adapter, base)
    nothing = zeros(file, "adapter") if record else set()
    if not replaced and all({c.up, c.down} & nothing and not c.magnitude for c in changes.values()):
        raise UserError("adapter: it changes nothing, all of its numbers are 0: was it saved before it was trained?")
    return adapter


def refuse_other_chat(folder: Path, chat: ChatTokenizer, settings: Path | None = None) -> None:
    """Raise UserError when what was saved with the adapter renders, or encodes, conversations otherwise than `chat`.

    Programs save the base model's with it, some after changes that no rendering shows. What the user gives as the input
    `chat_template` is what the adapter was trained with.
    """
    chosen = read_chat_settings(settings)
    own = None if chosen.template else find_template(folder, "adapter")
    with_own = chat if own is None else chat.with_template(chosen.pinned(own))
    if any(_rendered(chat, *asked) != _rendered(with_own, *asked) for asked in _ASKED):
        raise UserError(
            "adapter: the chat template in its folder renders conversations otherwise than the base model's does. If "
            "it was trained with its own, give that one as the input `chat_template`, else remove it from the folder"
        )
    if (folder / "tokenizer.json").is_file():
        _refuse_other_tokens(read_tokenizer(folder, "adapter"), chat)


def _refuse_other_tokens(own: Tokenizer, chat: ChatTokenizer) -> None:
    """Compare ids: some programs give a token of the base model the spelling of the template's end of turn."""
    own.no_truncation()
    own.no_padding()
    for text in filter(None, (_rendered(chat, *asked) for asked in _ASKED)):
        if encoded(own, text, port="adapter").ids != chat.encode(text):
            raise UserError(
                "adapter: the tokenizer in its folder makes other tokens of a conversation than the base model's does. "
                "If it was trained with its own, give the base model with those tokenizer files, else remove them there"
            )


def _rendered(chat: ChatTokenizer, messages: Messages, prompt: bool) -> str | None:
    try:
        return chat.render(messages, prompt)
    except UserError:
        return None  # both may refuse a system prompt


def _sort_out(shapes: Shapes) -> tuple[dict[str, _Found], dict[str, str]]:
    """Return the parts of each layer, and the weights that are there as a whole. Raises UserError for other parts."""
    layers: dict[str, dict[str, str]] = {}
    rows, whole, unknown = set(), {}, []
    for key in shapes:
        if ".original_module." in key:  # as it was before it was trained as a whole
            continue
        name = _WRAPPERS.sub("", key).removeprefix("base_model.model.")
        if part := _PARTS.fullmatch(name):
            half = part["half"] or part["row_half"] or (part["mlx_half"] or "").upper() or "magnitude"
            layers.setdefault(part["layer"], {})[half] = key
            if part["row_half"]:
                rows.add(part["layer"])
        elif (part := _WHOLE.fullmatch(name)) and "lora_" not in name and "token_adapter" not in name:
            whole[f"{part['layer']}.{part['kind']}"] = key
        else:
            unknown.append(key)
    if unknown or not layers:
        names = printable(", ".join(unknown[:3])) or "nothing"
        raise UserError(f"adapter: it holds more than LoRA matrices of linear layers: {names}")
    return {layer: _Found(halves=halves, rows=layer in rows) for layer, halves in layers.items()}, whole


def _change(target: str, layer: str, found: _Found, formula: Formula, shapes: Shapes, base: Shapes) -> Change:
    halves = found.halves
    down, up = shapes.get(halves.get("A", ""), ()), shapes.get(halves.get("B", ""), ())
    if formula.mlx:  # written as x·a·b: the halves have changed sides, and the product lies the other way round
        down, up = up, down
    if 0 in (*up, *down):
        raise UserError(f"adapter: {printable(layer)}{EMPTY}")
    if len(down) != 2 or len(up) != 2 or up[1] != down[0]:
        raise UserError(f"adapter: its matrices for {printable(target)} do not belong together: copy it again")
    magnitude = halves.get("magnitude")
    if bool(magnitude) != formula.dora or (magnitude and shapes[magnitude] not in ((up[0],), (up[0], 1), (1, up[0]))):
        raise UserError(f"adapter: use_dora and the magnitudes for {printable(target)} do not belong together")
    expected, plain = base.get(target), (up[0], down[1])
    may_turn = found.rows or formula.mlx or formula.fan_in_fan_out
    turned = may_turn and (expected == plain[::-1])
    if expected is None or (expected != plain and not turned):
        raise UserError(_other_shape(target, plain, expected))
    if magnitude and turned:
        raise UserError(f"adapter: DoRA of {printable(target)}, whose weight lies the other way round, is not merged")
    names = (halves["A"], halves["B"]) if formula.mlx else (halves["B"], halves["A"])
    scaling = formula.scaling(layer, up[1])
    return Change(up=names[0], down=names[1], turned=turned, scaling=scaling, magnitude=magnitude)


def _check_whole(adapter: Adapter, shapes: Shapes, base: Checkpoint) -> None:
    for target, key in adapter.replaced.items():
        shape, expected = shapes[key], base.shapes.get(target)
        if shape == expected:
            continue
        if _EMBEDDINGS.search(target) and expected and shape[1:] == expected[1:]:
            raise UserError(
                f"adapter: its {printable(target)} has {shape[0]} tokens, and this base model has {expected[0]}: "
                "tokens were added before it was trained. Give the base model with them: resized, with that tokenizer"
            )
        if expected is None and not _EMBEDDINGS.search(target):
            raise UserError(f"adapter: it holds {printable(target)}, and this base model has no such weight")
        if expected is not None:
            raise UserError(_other_shape(target, shape, expected))


def _unties(base: Checkpoint, formula: Formula) -> bool:
    """Whether a change of the weight with which the base model reads and says tokens can be one of either use alone.

    So PEFT trains them. mlx-lm changes both with one adapter, and of other architectures llama.cpp knows no HEAD.
    """
    apart = HEAD in base.shapes or EMBEDDING not in base.shapes
    return not formula.mlx and not apart and base.model_type in _UNTIED


def _check_both(adapter: Adapter, config: Mapping[str, object]) -> None:
    changed = {*adapter.changes, *adapter.replaced}
    if config.get("ensure_weight_tying") and not {EMBEDDING, HEAD} <= changed:
        [other] = {EMBEDDING, HEAD} - changed
        raise UserError(
            f"adapter: adapter_config.json: ensure_weight_tying: it trained what the base model reads and says tokens "
            f"with as one weight, and {other} is not in {adapter.file.name}. Save it again with the PEFT of today"
        )


def _check_embeddings(adapter: Adapter, base: Checkpoint) -> None:
    """Refuse a change of one use of a weight that the model has for two: to read tokens and to say them."""
    config = read_object(base.folder / "config.json")
    tied = config.get("tie_word_embeddings") is True or not any("lm_head.weight" in name for name in base.shapes)
    changed = [name for name in sorted({*adapter.changes, *adapter.replaced}) if _EMBEDDINGS.search(name)]
    if tied and changed:
        raise UserError(
            f"adapter: it changes {printable(changed[0])}, a weight with which this base model both reads and says "
            "tokens (tie_word_embeddings); one of both would be lost. Train an adapter without embed_tokens and lm_head"
        )


def refuse_other_base(folder: Path, uri: str | None) -> None:
    """Raise UserError for an adapter that names another model of the hub than `uri` is, whose bytes are not here."""
    _check_base_name(read_object(folder / "adapter_config.json", "adapter"), uri)


def _check_base_name(config: Mapping[str, object], uri: str | None, sha256: str | None = None) -> None:
    """Compare the base that the adapter names, a content hash or a name on the hub, with the one that is here."""
    name = str(config.get("base_model_name_or_path") or ("" if "peft_type" in config else config.get("model")) or "")
    copies = ""
    by_hash = re.search(r"@sha256:([0-9a-f]{8,64})$", name)
    if by_hash and sha256 and not sha256.startswith(by_hash[1]):
        other = f"the base model sha256:{by_hash[1]}, and this one is sha256:{sha256[:12]}"
    elif (here := hub_name(uri)) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and _model(name) != _model(here):
        copies = " If one is a copy of the other, take the name out of adapter_config.json."
        other = f"the base model {name}, and this one is {here}"
    else:
        return
    raise UserError(f"adapter: it was trained on {other}. Give the base model that it was trained on.{copies}")


def _model(name: str) -> str:
    """Return what copies of one model have in common: programs that train in fewer bits name their own copy of it.

    Meta's models have been renamed on the hub since: the old names still lead to them.
    """
    return _COPY.sub("", name.rpartition("/")[2].lower()).removeprefix("meta-")


def _no_weights(folder: Path, expected: str) -> str:
    names = sorted(path.name for path in folder.iterdir())
    if otherwise := kept_otherwise(names):
        return f"adapter: its {otherwise}"
    steps = [name for name in names if name.endswith(f"_{expected}")]  # mlx-lm numbers those before the last
    way_out = f"give one of its steps this name, such as {steps[-1]}" if steps else "give the folder that PEFT saved"
    return f"adapter: {expected} is missing: {printable(way_out)}"


def _other_shape(target: str, shape: tuple[int, ...], expected: tuple[int, ...] | None) -> str:
    has = f"shape {'×'.join(map(str, expected))}" if expected else "no such weight"
    if expected is None and _EMBEDDINGS.search(target):
        has += " (it says tokens with its embedding, tie_word_embeddings)"
    return (
        f"adapter: it changes {printable(target)} of shape "
        f"{'×'.join(map(str, shape))}, and this base model has {has}. Give the base model that it was trained on."
    )


def _in_base(name: str, base: Checkpoint, places: Mapping[str, str]) -> str:
    return name if name in base.shapes else places.get(bare_name(name), name)
