"""Measures QLoRA, conversion and serving on a GPU: `PYTHONPATH=tests .venv/bin/python tests/bench/gpu.py FOLDER llama`.

Makes a model in FOLDER that has the shape, tokenizer and template of Llama 3.1 8B (`llama`) or Gemma 2 9B (`gemma2`)
and random weights (16 and 18 GB), trains it on slices of one conversation of 8 K and of 32 K tokens, converts it with
its last adapter, and serves the file. `--only training`, `conversion` or `serving` does one of them, in this order.
`tiny-llama` and `tiny-gemma2` show on any machine that it works. Rows are added to FOLDER/rows.jsonl; `gpu.py FOLDER`
alone prints the tables.

Operations are those of the linear layers and the head, P weights, and of attention, A forward: two per weight and
token, and four per pair of tokens that see each other, head and its size. LoRA needs 4 P + 3 A: a frozen weight has no
gradient of its own. Checkpointing computes forward again, for 6 P + 4 A. MFU (arXiv:2204.02311, appendix B) is what is
needed, over seconds and the card's peak; `busy` counts what is computed again too. The first step, in which kernels are
compiled, is not counted. Shared prefixes learn as much from fewer tokens: compare their seconds per step.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from kit.families import write_family
from kit.slicing import WORDS
from trainer.runs import LocalContext, slice_row, write_rows
from tuneline.data.io import read_record
from tuneline.data.model_facts import ModelFacts
from tuneline.data.training import TrainingRecord
from tuneline.model.chat import ChatTokenizer
from tuneline.model.llama_server import serve
from tuneline_gguf_converter import stage as converter
from tuneline_trainer import stage as trainer
from tuneline_trainer.examples.rows import Batching
from tuneline_trainer.model.base_model import linear_layers, read_base_model

SLICES, STEPS = 3, 3
PEAKS = {"H100 PCIe": 756e12, "H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 operations per second, by a part of the card's name: the vendor's data sheets."""
LONGEST = 32_768
ANSWER_TOKENS = 256
FAMILIES = {"llama": "Llama 3.1", "gemma2": "Gemma 2"}
LARGE: Mapping[str, Mapping[str, Any]] = {
    "llama": {
        "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": LONGEST,
    },
    "gemma2": {
        "hidden_size": 3584, "intermediate_size": 14_336, "num_hidden_layers": 42, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 256, "max_position_embeddings": LONGEST, "query_pre_attn_scalar": 256,
        "sliding_window": 4096, "layer_types": None,
    },
}  # fmt: skip


class Timed(LocalContext):
    """Notes when each step ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.ends: list[float] = []

    def progress(self, done: int, total: int) -> None:
        self.ends.append(time.monotonic())
        super().progress(done, total)


def write_model(folder: Path, name: str, layers: int | None) -> Path:
    """Write the model `name`, unless it is there; random weights come from the GPU if there is one."""
    kind = name.removeprefix("tiny-")
    if folder.exists():
        return folder
    if kind != name:
        return write_family(folder, FAMILIES[kind])
    part = write_family(folder.with_suffix(".part"), FAMILIES[kind])
    (part / "model.safetensors").unlink()
    known = json.loads((part / "config.json").read_text())
    shape = {**known, **LARGE[kind]} | ({"num_hidden_layers": layers} if layers else {})
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    config.save_pretrained(part)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    shapes = [(name, weight.shape) for name, weight in model.named_parameters()]  # a tied head is not named again
    norm = 0.0 if kind == "gemma2" else 1.0
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda at: write_weight(part, at, *shapes[at], norm), range(len(shapes))))
    weight_map = {name: file for (name, _), file in zip(shapes, files, strict=True)}
    (part / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return part.rename(folder)


def write_weight(folder: Path, number: int, name: str, shape: Sequence[int], norm: float) -> str:
    """Write a file with one weight and return its name."""
    file = f"model-{number:05}.safetensors"
    made = torch.empty(*shape, dtype=torch.bfloat16, device="cuda" if torch.cuda.is_available() else "cpu")
    made = made.fill_(norm) if "norm" in name else made.normal_(std=0.02)
    save_file({name: made.cpu()}, folder / file, metadata={"format": "pt"})
    return file


def write_talk(path: Path, base: Path, tokens: int) -> list[int]:
    """Write SLICES slices of one conversation, the last of almost `tokens` tokens, and return how long each is."""
    chat = ChatTokenizer.from_folder(base)

    def talk(exchanges: int) -> list[dict[str, str]]:
        said = [" ".join(WORDS[at % len(WORDS) :] + WORDS[: at % len(WORDS)]) for at in range(2 * exchanges)]
        return [{"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(said)]

    each = len(chat.encode_conversation(talk(SLICES)).input_ids) / SLICES
    exchanges = max(SLICES, int(0.98 * tokens / each))
    points = [exchanges * (number + 1) // SLICES for number in range(SLICES)]
    cut = [talk(exchanges)[: 2 * point] for point in points]
    rows = [
        slice_row(1, messages=said) | {"id": f"talk-1#{p}", "point": p} for said, p in zip(cut, points, strict=True)
    ]
    write_rows(path, rows)
    return [len(chat.encode_conversation(said).input_ids) for said in cut]


def train(folder: Path, base: Path, tokens: int, batching: Batching) -> dict[str, object]:
    """Train STEPS steps and return what was measured; the adapter stays in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    lengths = write_talk(folder / "slices.jsonl", base, tokens)
    outputs = trainer.TrainerOutputs(adapter=folder / "a", metrics=folder / "m.jsonl", training=folder / "t.json")
    outputs.adapter.mkdir()
    inputs = trainer.TrainerInputs(slices=folder / "slices.jsonl", base_model=base)
    params = trainer.TrainerParams(
        epochs=STEPS, accumulation=SLICES, max_length=tokens, batching=batching, save_steps=STEPS
    )
    held = clean_memory()
    context = Timed(folder)
    counts = trainer.run(params, inputs, outputs, context).counts
    setup = read_record(outputs.training, TrainingRecord).setup
    seconds = (context.ends[-1] - context.ends[-STEPS]) / (STEPS - 1)
    peak, estimated = (int(str(counts[name])) for name in ("peak_memory_bytes", "estimated_memory_bytes"))
    computed = lengths if batching == "slices" else lengths[-1:]
    return {
        "what": "training", "tokens": tokens, "batching": batching, "attention": setup.attention, "seconds": seconds,
        "first": context.ends[-STEPS] - context.ends[0], "computed": computed, "peak": peak, "estimated": estimated,
        "held": held, "operations": operations(base, computed), "libraries": setup.libraries,
    }  # fmt: skip


def clean_memory() -> int:
    """Free what the last training held, and return the bytes that stay."""
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def operations(base: Path, rows: Sequence[int]) -> tuple[float, float]:
    """Return what a step on rows of so many tokens needs, and what it takes with checkpointing."""
    facts, config = read_base_model(base), AutoConfig.from_pretrained(base).get_text_config()
    arch = facts.architecture
    weights = sum(math.prod(shape) for shape in linear_layers(facts.shapes).values())
    weights += arch.vocab_size * arch.hidden_size
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * arch.num_hidden_layers
    width = arch.num_attention_heads * (arch.head_dim or arch.hidden_size // arch.num_attention_heads)
    pairs = sum(
        seen(row, config.sliding_window if kind == "sliding_attention" else row) for row in rows for kind in kinds
    )
    linear, attention = 2.0 * weights * sum(rows), 4.0 * pairs * width
    return 2 * linear + 3 * attention, 3 * linear + 4 * attention


def seen(tokens: int, window: int) -> int:
    """Return how many tokens the tokens of a row see, of which each sees itself and those before it in the window."""
    window = min(window, tokens)
    return window * (window + 1) // 2 + (tokens - window) * window


def convert(folder: Path, base: Path, adapter: Path) -> dict[str, object]:
    """Merge, convert, quantise and check, and return what was measured; the file stays in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    ports = converter.GgufConverterOutputs(
        model=folder / "model", gguf=folder / "g.json", modelfile=folder / "Modelfile"
    )
    ports.model.mkdir(parents=True)
    # Of random weights nothing is likelier than the rest, so that no rounding agrees.
    params = converter.GgufConverterParams(min_top1_agreement=0)
    inputs = converter.GgufConverterInputs(adapter=adapter, base_model=base, slices=None)
    context = Timed(folder)
    started = time.monotonic()
    converter.run(params, inputs, ports, context)
    file = ports.model / read_record(ports.gguf, ModelFacts).file
    return {
        "what": "conversion", "seconds": time.monotonic() - started, "written": context.ends[0] - started,
        "quantised": context.ends[1] - context.ends[0], "file": file.name, "bytes": file.stat().st_size,
    }  # fmt: skip


def ask(folder: Path, tokens: int) -> dict[str, object]:
    """Serve the file in `folder`; return how fast it reads a prompt of `tokens` and writes, and the memory it took."""
    (model,) = (folder / "model").glob("*.gguf")
    before = free_memory()
    threads = 1 if torch.cuda.is_available() else None
    with serve(model, context_tokens=tokens + ANSWER_TOKENS, slots=1, threads=threads, log=folder / "log") as server:
        request = {"prompt": [100 + at % 200 for at in range(tokens)], "n_predict": ANSWER_TOKENS, "ignore_eos": True}
        server.post("/completion", {**request, "prompt": [7] * 64, "n_predict": 8, "cache_prompt": False})
        times = server.post("/completion", {**request, "cache_prompt": False})["timings"]
        took = before - free_memory()
    assert isinstance(times, dict)
    return {
        "what": "serving", "prompt": tokens, "read": times["prompt_per_second"], "wrote": times["predicted_per_second"],
        "memory": took, "file": model.name,
    }  # fmt: skip


def free_memory() -> int:
    """Return the free bytes of the GPU; 0 without one."""
    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else 0


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table of trainings."""
    needed, taken = row["operations"]
    peak = next((peak for name, peak in PEAKS.items() if name in row["card"]), None)
    used = (f"{100 * part / row['seconds'] / peak:.0f} %" if peak else "–" for part in (needed, taken))
    cells = (
        row["model"], f"{row['tokens']:,}", row["batching"], row["attention"], f"{row['seconds']:.2f}",
        f"{sum(row['computed']) / row['seconds']:,.0f}", *used, f"{row['peak'] / 2**30:.1f}",
        f"{row['estimated'] / row['peak']:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what was measured as the page has it, the newest of each kind."""
    trained = {(row["model"], row["tokens"], row["batching"]): line(row) for row in rows if row["what"] == "training"}
    head = "| model | tokens | batching | attention | s per step | tokens per s | MFU | busy | peak, GiB | estimate |"
    lines = [head, "|" + "---|" * 10, *trained.values(), ""]
    for row in rows:
        if row["what"] == "conversion":
            lines.append(
                f"{row['model']}: adapter and base to {row['file']} ({row['bytes'] / 1e9:.1f} GB) in "
                f"{row['seconds']:.0f} s, of which {row['written']:.0f} s to merge and write 16 bits, "
                f"{row['quantised']:.0f} s to quantise."
            )
        if row["what"] == "serving":
            lines.append(
                f"{row['model']}, served on {row['card']}: {row['read']:,.0f} tokens per second of a prompt of "
                f"{row['prompt']:,}, {row['wrote']:.0f} of an answer, {row['memory'] / 2**30:.1f} GiB."
            )
    return "\n".join(lines)


def measure(
    folder: Path, name: str, only: Literal["training", "conversion", "serving", None], lengths: Sequence[int],
    layers: int | None,
) -> None:  # fmt: skip
    """Measure a model and add the rows to FOLDER/rows.jsonl."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"

    def add(row: Mapping[str, object]) -> None:
        with (folder / "rows.jsonl").open("a") as file:
            file.write(json.dumps({"card": card, "model": name, **row}) + "\n")
        print(json.dumps(row), flush=True)

    base, trained, made = write_model(folder / name, name, layers), folder / f"{name}-trained", folder / f"{name}-made"
    if only in (None, "training"):
        for tokens in lengths:
            add(train(trained, base, tokens, "slices"))
            add(train(trained, base, tokens, "shared_prefix"))
    if only in (None, "conversion"):
        add(convert(made, base, trained / "a"))
    if only in (None, "serving"):
        add(ask(made, max(lengths) // 4))


def main() -> None:
    """Measure the models that are named, and print the tables."""
    parser = argparse.ArgumentParser(description="Measure training, conversion and serving on a GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="*", choices=[*LARGE, *(f"tiny-{name}" for name in LARGE)])
    parser.add_argument("--only", choices=["training", "conversion", "serving"])
    parser.add_argument("--lengths", nargs="+", type=int)
    parser.add_argument("--layers", type=int, help="fewer than the model has, for a first look")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        usual = (1000,) if name.startswith("tiny") else (8192, LONGEST)
        measure(options.folder, name, options.only, options.lengths or usual, options.layers)
    rows = (options.folder / "rows.jsonl").read_text().splitlines()
    print(tables([json.loads(row) for row in rows]))


if __name__ == "__main__":
    main()
