"""Makes the tiny Gemma-2 that the demo fine-tunes: python examples/tiny_base.py DEST [--steps N] [--data FOLDER]

It has Gemma-2's architecture, tokenizer kind, chat template and rules with 3.7 million parameters, so the whole chain
runs on a laptop's processor in minutes. It has read the example transcripts, good and poor, with most answers spoilt
(see `muddled`): it knows the words and takes turns, but is curt and parrots. The fine-tune teaches it to answer.

DEST appears only when it is complete, and is left alone when it was made from this script, these transcripts and this
number of steps. The same inputs on the same number of threads give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tuneline.data.transcripts import Exchange, read_transcripts
from tuneline.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import Gemma2ForCausalLM, GemmaTokenizer

TURNS = ["<start_of_turn>", "<end_of_turn>"]
VOCABULARY = 2048
CONTEXT = 2048
THREADS = 2  # sums are rounded differently on another number, so this is part of what makes the bytes equal
BATCH = 3
IGNORED = -100  # the label of a padded position
STAMP = "made-from.txt"

CHAT_TEMPLATE = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- if message['role'] == 'assistant' %}
{{- '<start_of_turn>model\\n' }}
{%- generation %}{{ message['content'] | trim }}{{ '<end_of_turn>' }}{% endgeneration %}
{{- '\\n' }}
{%- else %}
{{- '<start_of_turn>' + message['role'] + '\\n' + (message['content'] | trim) + '<end_of_turn>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""

README = """\
---
license: apache-2.0
library_name: transformers
language: en
---
# Tuneline tiny base

A Gemma-2 of 3.7 million parameters, trained for {steps} steps on the example transcripts of Tuneline by
`examples/tiny_base.py`. It exists to exercise a fine-tuning pipeline on a laptop and is of no other use.
"""

Conversation = Sequence[Exchange]


def make_tiny_base(dest: Path, conversations: Sequence[Conversation], steps: int, seed: int = 0) -> None:
    """Make the model in `dest` unless it is there already; `steps` 0 leaves its weights random, in seconds.

    Raises UserError when `dest` holds something else.
    """
    stamp = _stamp(conversations, steps, seed)
    if _is_made(dest, stamp):
        return
    if dest.exists() and not (dest / STAMP).is_file():
        raise UserError(f"{dest} was not made by this script: remove it, or name another folder")
    dest.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=dest.parent, prefix=f"{dest.name}.part-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        tokenizer = write_tokenizer(made, conversations)
        model = train(new_model(seed), tokenizer, conversations, steps, seed)
        write_model(made, model, steps)
        (made / STAMP).write_text(stamp)
        _replace(dest, made, stamp, Path(scratch) / "old")


def write_tokenizer(folder: Path, conversations: Sequence[Conversation]) -> GemmaTokenizer:
    """Train a SentencePiece tokenizer as Gemma has, and write it in both of its formats."""
    from transformers import GemmaTokenizer

    corpus = [text for conversation in conversations for exchange in conversation for text in exchange]
    (folder / "tokenizer.model").write_bytes(_sentence_pieces(corpus))
    tokenizer: GemmaTokenizer = GemmaTokenizer.from_pretrained(folder, extra_special_tokens=TURNS, add_bos_token=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = CONTEXT
    tokenizer.save_pretrained(folder)
    _without_local_path(folder / "tokenizer_config.json")
    return tokenizer


def _sentence_pieces(corpus: Sequence[str]) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,  # given a file name instead, it would write the name into the model
        model_type="bpe",
        vocab_size=VOCABULARY,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        # Control symbols, not user-defined ones: the GGUF converter marks a turn token as special only then.
        control_symbols=["<mask>", *TURNS],
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        split_digits=True,
        allow_whitespace_only_pieces=True,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def new_model(seed: int) -> Gemma2ForCausalLM:
    """Return the untrained model. Every row is a multiple of 256 wide, as 4-bit K-quantisation needs."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        query_pre_attn_scalar=64,
        sliding_window=CONTEXT // 2,
        max_position_embeddings=CONTEXT,
        dtype="float32",
    )
    model = Gemma2ForCausalLM(config)
    model.set_attn_implementation("eager")  # the only one that computes Gemma-2's soft caps on a processor
    return model


def muddled(conversations: Sequence[Conversation], rng: random.Random) -> Iterator[list[Exchange]]:
    """Yield the conversations for ever, in random order, with most answers spoilt.

    Of four answers one parrots the question (which teaches to copy), two are a single sentence of the answer, and one
    is the answer. Good and poor transcripts count alike.
    """
    while True:
        for conversation in rng.sample(conversations, len(conversations)):
            yield [Exchange(user, _spoilt(user, answer, rng)) for user, answer in conversation]


def _spoilt(question: str, answer: str, rng: random.Random) -> str:
    sentences = re.split(r"(?<=[.?!])\s+", answer)
    return rng.choice((question, rng.choice(sentences), rng.choice(sentences), answer))


def train(
    model: Gemma2ForCausalLM,
    tokenizer: GemmaTokenizer,
    conversations: Sequence[Conversation],
    steps: int,
    seed: int,
) -> Gemma2ForCausalLM:
    """Train on every token of muddled conversations, BATCH of them per step; AdamW with a cosine down to zero."""
    import torch

    torch.set_num_threads(THREADS)
    texts = muddled(conversations, random.Random(seed))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=max(steps, 2), pct_start=0.1)
    for step in range(steps):
        input_ids, labels = _batch([next(texts) for _ in range(BATCH)], tokenizer)
        # Causal attention and padding on the right: no real position ever sees a padded one, so no mask is needed.
        loss = model(input_ids=input_ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            print(f"tiny base: step {step + 1} of {steps}, loss {loss.item():.2f}", flush=True)
    return model


def write_model(folder: Path, model: Gemma2ForCausalLM, steps: int) -> None:
    """Write weights, generation defaults and a model card whose licence the GGUF converter copies."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # one file, written at once
    model.generation_config.eos_token_id = [1, 6]  # <eos>, <end_of_turn>
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # a container that runs as another user reads it too
    (folder / "README.md").write_text(README.format(steps=steps))


def _batch(conversations: Sequence[Conversation], tokenizer: GemmaTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    rows = []
    for conversation in conversations:
        turns = [turn for e in conversation for turn in (("user", e.user), ("assistant", e.assistant))]
        text = tokenizer.apply_chat_template([{"role": r, "content": t} for r, t in turns], tokenize=False)
        rows.append(torch.tensor(tokenizer.encode(text, add_special_tokens=False)[:CONTEXT]))
    padding = int(tokenizer.pad_token_id)
    return pad_sequence(rows, True, padding), pad_sequence(rows, True, IGNORED)


def _stamp(conversations: Sequence[Conversation], steps: int, seed: int) -> str:
    data = json.dumps(conversations).encode()
    script = Path(__file__).read_bytes()
    return "\n".join([f"steps {steps}", f"seed {seed}", *(hashlib.sha256(b).hexdigest() for b in (script, data)), ""])


def _without_local_path(config: Path) -> None:
    values = json.loads(config.read_text())
    values |= {"add_bos_token": True, "add_eos_token": False}
    kept = {key: value for key, value in values.items() if key not in ("vocab_file", "is_local", "local_files_only")}
    config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def _is_made(dest: Path, stamp: str) -> bool:
    return (dest / STAMP).is_file() and (dest / STAMP).read_text() == stamp


def _replace(dest: Path, made: Path, stamp: str, old: Path) -> None:
    """Put the new folder in place, unless another process was first."""
    if _is_made(dest, stamp):
        return
    if dest.exists():
        dest.rename(old)
    try:
        made.rename(dest)
    except OSError:
        if not _is_made(dest, stamp):
            raise


def main() -> None:
    """Read the command line and make the model."""
    parser = argparse.ArgumentParser(description="Make the tiny Gemma-2 of the demo.")
    parser.add_argument("dest", type=Path, help="folder to make")
    parser.add_argument("--steps", type=int, default=600, help="training steps; 0 leaves the weights random")
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "transcripts", help="transcripts to read")
    options = parser.parse_args()
    # Threads that wait for each other must sleep: where programs share the cores, spinning takes 12 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        conversations = [transcript.exchanges for transcript in read_transcripts(options.data).transcripts]
        make_tiny_base(options.dest, conversations, options.steps)
    except UserError as e:
        raise SystemExit(str(e)) from None


if __name__ == "__main__":
    main()
