"""Small models of the families that people tune: real configuration class, tokenizer and chat template, random weights.

Tokenizers come from packages that tools/tokenizers.sh fetches; templates from TRL, llama.cpp's source, or the package.
"""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from kit import family_templates
from tuneline.llm.token_counts import load_planning_encoding

CACHE = Path(os.environ.get("TUNELINE_CACHE") or Path.home() / ".cache" / "tuneline") / "tokenizers"

SMALL: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}  # fmt: skip


class Family(NamedTuple):
    """A family: `tokenizer` is a place in the cache (none for cl100k_base), `template` that of its chat template."""

    tokenizer: str
    template: str
    model_type: str
    config: Mapping[str, Any] = {}
    sentencepiece: bool = False
    """Whether the family ships a tokenizer.model; it is written again from tokenizer.json."""
    renamed: Mapping[str, str] = {}
    """Tokens that the package's tokenizer has under another name; the name is empty where the family lacks one."""
    end: str | None = None
    """The end of turn, where the package's tokenizer has another one."""
    sees: str | None = None
    """The model type of the whole, where the text part is one of two."""
    experts: bool = False
    """Whether feed-forward layers are blocks of experts, which bear no adapter."""


QWEN3_ONLY = dict.fromkeys(("<tool_response>", "</tool_response>", "<think>", "</think>"), "")
SMOLLM3 = {
    "<|reserved_special_token_0|>": "<think>",
    "<|reserved_special_token_1|>": "</think>",
    "<|reserved_special_token_3|>": "<|im_start|>",
    "<|reserved_special_token_4|>": "<|im_end|>",
}
PHI = (
    *("<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>"),
    *("<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>"),
)
"""Tokens behind those of Llama 2."""
TEKKEN = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]"),
)
"""The first tokens of Mistral's byte tokenizers; their file holds ranked tokens only."""
PHI_4 = (
    *("<|dummy_0|>", "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|dummy_1|>"),
    *("<|dummy_2|>", "<|dummy_3|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"),
)
"""Tokens behind those of cl100k_base."""
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
"""How it splits text, in the words that tokenizers knows."""
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}

MIXTRAL_CONFIG = {"sliding_window": None, "num_local_experts": 4, "num_experts_per_tok": 2}

COMMON = "mistral_common"
NEMO = "llama.cpp:mistralai-Mistral-Nemo-Instruct-2407"
SMOLLM = "llama.cpp:HuggingFaceTB-SmolLM3-3B"
WINDOW = {"query_pre_attn_scalar": 32, "sliding_window": 64}
NO_WINDOW = {"sliding_window": None}
TIED = {"tie_word_embeddings": True}
LLAMA_3 = {"rope_parameters": LLAMA3_ROPE}
PHI_CONFIG = {"sliding_window": 64, "original_max_position_embeddings": 1024, "head_dim": 16}

FAMILIES: Mapping[str, Family] = {
    "Gemma 2": Family("gemini", "package", "gemma2", WINDOW, sentencepiece=True),
    "Gemma 3": Family("gemma3", "package", "gemma3_text", WINDOW, sentencepiece=True),
    "Gemma 3 with a vision part": Family("gemma3", "package", "gemma3_text", WINDOW, sentencepiece=True, sees="gemma3"),
    "Llama 3.1": Family("llama3_1", "trl:llama3_1", "llama", LLAMA_3),
    "Llama 3.2": Family("llama3_1", "trl:llama3_2", "llama", {**LLAMA_3, **TIED}),
    "Qwen 2.5": Family("qwen3", "trl:qwen2_5", "qwen2", {**TIED, "head_dim": 16}, renamed=QWEN3_ONLY),
    "Qwen 3": Family("qwen3", "package", "qwen3", TIED),
    "Qwen 3 MoE": Family("qwen3", "package", "qwen3_moe", MOE, experts=True),
    "Mistral 0.3": Family(f"{COMMON}/mistral_instruct_tokenizer_240323.model.v3", "kit:MISTRAL", "mistral", NO_WINDOW),
    "Mistral Nemo": Family(f"{COMMON}/tekken_240718.json", NEMO, "mistral", NO_WINDOW),
    "Mixtral": Family(f"{COMMON}/tokenizer.model.v1", "kit:MIXTRAL", "mixtral", MIXTRAL_CONFIG, experts=True),
    "Phi 3.5": Family("llama2", "trl:phi3_5", "phi3", PHI_CONFIG, sentencepiece=True),
    "Phi 4": Family("", "kit:PHI_4", "phi3", {**PHI_CONFIG, **NO_WINDOW}),
    "SmolLM 3": Family("llama3_1", SMOLLM, "smollm3", TIED, renamed=SMOLLM3, end="<|im_end|>"),
}  # fmt: skip


def write_family(folder: Path, name: str, **config: Any) -> Path:
    """Write a model of the family `name`, with random weights; skips the test where its tokenizer is not at hand."""
    family = FAMILIES[name]
    if not (CACHE / family.tokenizer).exists():
        pytest.skip(f"the package with the tokenizer of {name} is not at hand: tools/tokenizers.sh fetches it")
    folder.mkdir(parents=True)
    tokenizer, settings = _tokenizer(family)
    own = settings.pop("chat_template", "")
    settings |= {"eos_token": family.end} if family.end else {}
    template = own if family.template == "package" else _template(family.template)
    (folder / "chat_template.jinja").write_text(template, newline="")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if family.sentencepiece:
        write_sentencepiece(tokenizer, folder / "tokenizer.model")
    elif ".model." in family.tokenizer:
        shutil.copy(CACHE / family.tokenizer, folder / "tokenizer.model")
    _write_weights(folder, family, tokenizer, settings, config)
    return folder


def _tokenizer(family: Family) -> tuple[Tokenizer, dict[str, Any]]:
    place = CACHE / family.tokenizer
    if place.is_file():
        names: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
        if place.suffix == ".json":
            return _of_tekken(json.loads(place.read_text())), names | {"tokenizer_class": "PreTrainedTokenizerFast"}
        return of_sentencepiece(place), names | {"tokenizer_class": "LlamaTokenizer"}
    if not family.tokenizer:
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<|dummy_0|>"}
        return _of_cl100k(), names | {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": False}
    settings = json.loads((place / "tokenizer_config.json").read_text())
    content = json.loads((place / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["content"] = family.renamed.get(token["content"], token["content"])
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"]]
    if family.renamed:
        settings.pop("added_tokens_decoder", None)
    if family.model_type == "smollm3":  # its texts have no beginning token
        settings["bos_token"] = content["post_processor"] = None
    if family.model_type == "phi3":
        content["added_tokens"][-1]["rstrip"], content["post_processor"] = True, None
        first = len(content["model"]["vocab"])
        plain = {"single_word": False, "lstrip": False, "normalized": False, "special": True}
        content["added_tokens"] += [
            {"id": first + at, "content": name, "rstrip": at > 0, **plain} for at, name in enumerate(PHI)
        ]
        settings |= {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "add_bos_token": False}
        settings["added_tokens_decoder"] = {
            str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in content["added_tokens"]
        }
    return Tokenizer.from_str(json.dumps(content)), settings


def _of_tekken(content: Mapping[str, Any]) -> Tokenizer:
    """Make a tokenizer of bytes from ranked tokens; ids begin with the special ones."""
    config = content["config"]
    offset, size = config["default_num_special_tokens"], config["default_vocab_size"]
    ranked = [b64decode(token["token_bytes"]) for token in content["vocab"]][: size - offset]
    special = [*TEKKEN, *(f"<SPECIAL_{number}>" for number in range(len(TEKKEN), offset))]
    return _of_ranked(ranked, config["pattern"], special, offset)


def _of_cl100k() -> Tokenizer:
    """Make Phi 4's tokenizer, whose special tokens stand behind those of cl100k_base."""
    ranks = load_planning_encoding()._mergeable_ranks
    return _of_ranked(sorted(ranks, key=ranks.__getitem__), CL100K, PHI_4, 0)


def _of_ranked(ranked: list[bytes], pattern: str, special: Sequence[str], offset: int) -> Tokenizer:
    """Make a tokenizer of bytes, whose ids begin at `offset`; the `special` tokens come before, or behind them."""
    letters = _letters()
    ranks = {token: rank for rank, token in enumerate(ranked)}
    said = ["".join(letters[byte] for byte in token) for token in ranked]
    merges = []
    for token in ranked:
        pairs = [(token[:at], token[at:]) for at in range(1, len(token))]
        known = [(ranks[left], ranks[right]) for left, right in pairs if left in ranks and right in ranks]
        merges += [(said[left], said[right]) for left, right in sorted(known)]
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, False, False)])
    tokenizer.decoder = decoders.ByteLevel()
    vocabulary = {token: number for number, token in enumerate([*special, *said] if offset else [*said, *special])}
    tokenizer.model = models.BPE(vocabulary, merges)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def of_sentencepiece(file: Path, by_score: bool = True) -> Tokenizer:
    """Make a tokenizer of a SentencePiece model of merges; those of the highest score come first, or of the lowest id.

    Where the marks of turns are control tokens, it writes a space at the beginning of a text only.
    """
    from sentencepiece import sentencepiece_model_pb2 as proto

    pieces = proto.ModelProto.FromString(file.read_bytes()).pieces  # type: ignore[attr-defined]
    vocabulary = {piece.piece: number for number, piece in enumerate(pieces)}
    merges = []
    for number, piece in enumerate(pieces):
        if piece.type == piece.NORMAL:
            splits = [(piece.piece[:at], piece.piece[at:]) for at in range(1, len(piece.piece))]
            known = [split for split in splits if split[0] in vocabulary and split[1] in vocabulary]
            rank = -piece.score if by_score else number
            merges += [(rank, vocabulary[left], vocabulary[right], (left, right)) for left, right in known]
    ordered = [merge for *_, merge in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocabulary, ordered, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    controls = [piece.piece for piece in pieces if piece.type in (piece.CONTROL, piece.UNKNOWN)]
    if "[INST]" in controls:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(spaces)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in controls])
    return tokenizer


def _letters() -> list[str]:
    """Return the letter that byte-level tokenizers write for each byte (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) if byte in plain else chr(256 + others.index(byte)) for byte in range(256)]


def _template(place: str) -> str:
    source, _, name = place.partition(":")
    if source == "kit":
        found: str = vars(family_templates)[name]
        return found
    if source == "trl":
        spec = find_spec("trl")
        assert spec and spec.submodule_search_locations
        return Path(spec.submodule_search_locations[0], "chat_templates", f"{name}.jinja").read_text()
    file = CACHE / "templates" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"the template {name} is not at hand: tools/tokenizers.sh fetches it")
    return file.read_text()


def write_sentencepiece(tokenizer: Tokenizer, file: Path) -> None:
    """Write the SentencePiece model from which a tokenizer.json of merges was made: a piece's score is its rank."""
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = json.loads(tokenizer.to_str())
    ranks: dict[str, int] = {}
    for merge in model["model"]["merges"]:
        ranks.setdefault("".join(merge if isinstance(merge, list) else merge.split(" ")), len(ranks))
    added = {token["content"]: token["special"] for token in model["added_tokens"]}
    pieces = proto.ModelProto()  # type: ignore[attr-defined]
    for piece, _ in sorted(model["model"]["vocab"].items(), key=lambda entry: entry[1]):
        kind = proto.ModelProto.SentencePiece.Type  # type: ignore[attr-defined]
        row = pieces.pieces.add()
        row.piece, row.score = piece, -float(ranks.get(piece, 0))
        if piece == "\t" and "<0x09>" not in model["model"]["vocab"]:
            row.piece, row.type = "<0x09>", kind.BYTE
        elif piece == "<unk>":
            row.type = kind.UNKNOWN
        elif len(piece) == 6 and piece.startswith("<0x"):
            row.type = kind.BYTE
        elif piece in added:
            row.type = kind.CONTROL if added[piece] else kind.USER_DEFINED
        elif piece not in ranks:
            row.score = -float(len(ranks))
    ids = model["model"]["vocab"]
    spec = pieces.trainer_spec
    spec.model_type, spec.byte_fallback, spec.vocab_size = spec.ModelType.Value("BPE"), True, len(ids)
    spec.unk_id, spec.pad_id = ids["<unk>"], ids.get("<pad>", -1)
    spec.bos_id, spec.eos_id = (ids["<bos>"], ids["<eos>"]) if "<bos>" in ids else (ids["<s>"], ids["</s>"])
    pieces.normalizer_spec.name = "identity"
    pieces.normalizer_spec.add_dummy_prefix = pieces.normalizer_spec.remove_extra_whitespaces = False
    file.write_bytes(pieces.SerializeToString())


def _write_weights(
    folder: Path, family: Family, tokenizer: Tokenizer, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {}
    for name in ("bos_token", "eos_token", "pad_token"):
        if token := settings.get(name):
            ids[f"{name}_id"] = tokenizer.token_to_id(token if isinstance(token, str) else token["content"])
    rows = -(-tokenizer.get_vocab_size() // 64) * 64
    shape = {**SMALL, "vocab_size": rows, **ids, **family.config, **config}
    torch.manual_seed(0)
    made = AutoConfig.for_model(family.model_type, **shape)
    if family.sees:
        eyes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
        made = AutoConfig.for_model(
            family.sees, text_config=made.to_dict(), vision_config={**eyes, "image_size": 28, "patch_size": 14},
            mm_tokens_per_image=4, **ids,
        )  # fmt: skip
    model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)


def conversation(seed: int, exchanges: int = 3) -> list[dict[str, str]]:
    """A conversation whose words every tokenizer splits differently."""
    messages = []
    for turn in range(exchanges):
        messages.append({"role": "user", "content": f"Where is my order {seed * 37}? Grüße, 你好! ({turn})"})
        messages.append(
            {"role": "assistant", "content": f"It left on day {seed}; it\u2019s    on its way 🚚. ({turn})"}
        )
    return messages
