"""Tokenizer and chat template of small models of three families, written in the layout of the Hugging Face hub.

The tokenizers are real ones, trained on the spot on a paragraph: their texts split into many short tokens, and nothing
else about them is unusual.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PARAGRAPH = (
    "Good morning, how can I help you today? My order has not arrived yet and I would like to know where it is. "
    "I am sorry to hear that. Could you tell me the number of your order, so that I can have a look at it for you? "
    "It is the one with the two blue chairs. Thank you, I have found it: it left our house on Monday and it should "
    "be with you in two or three days. Is there anything else that I can do? No, that was all. Have a nice day!\n\n"
)

GEMMA = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate') }}
{%- endif %}
{%- if message['role'] == 'assistant' %}
{{- '<start_of_turn>model\\n' }}
{%- generation %}{{ message['content'] | trim + '<end_of_turn>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}
{{- '<start_of_turn>user\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

SPECIAL = {
    "gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"],
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "llama": ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
}
TEMPLATES = {"gemma": GEMMA, "chatml": CHATML, "llama": LLAMA}
NAMES = {
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"},
    "chatml": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    "llama": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
}
Family = Literal["gemma", "chatml", "llama"]


def write_chat_model(
    folder: Path, family: Family = "gemma", *, template: str | None = None, context: int = 8192
) -> Path:
    """Write what a stage reads of a base model before it needs its weights; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _sentence_pieces() if family == "gemma" else byte_level()
    special = [AddedToken(token, special=True, normalized=False) for token in SPECIAL[family]]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**NAMES[family], "tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": SPECIAL[family]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").write_text(template or TEMPLATES[family])
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    return folder


def byte_level() -> Tokenizer:
    """Return a tokenizer of bytes and some words, without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [PARAGRAPH], trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


def _sentence_pieces() -> Tokenizer:
    """Return pieces with `▁` for spaces, and one piece per byte for everything that has no other."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator([PARAGRAPH], trainers.BpeTrainer(vocab_size=400, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    pieces = [*SPECIAL["gemma"], *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    spaces = decoders.Replace("▁", " ")
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer
