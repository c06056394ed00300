"""From base model and adapter to a GGUF file with 16 bits per weight: PEFT's merge and then the converter, or ours.

Run as `conversions.py FIGURES SCRIPT ARGUMENTS…` it runs a script and writes what that took of disk and memory.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from kit.gguf_parts import write_adapter
from kit.peak_memory import held
from kit.places import ROOT
from kit.slicing import slice_of
from tuneline.data.io import write_lines
from tuneline.model import llama_cpp
from tuneline.model.base_model import read_checkpoint
from tuneline.stage import InputRecord

PEFT = """\
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, merged = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
PeftModel.from_pretrained(model, adapter).merge_and_unload().to(torch.bfloat16).save_pretrained(merged)
"""


class Took(NamedTuple):
    """Bytes that moved between disk and memory, and the most memory at once."""

    moved: int
    memory: int


class Ratios(NamedTuple):
    """How many times as much PEFT's way takes, and the bytes of the model with 16 bits."""

    moved: float
    memory: float
    model: int


def compare(folder: Path) -> Ratios:
    """Convert a model both ways, to the same weights; what is read comes from disk each time."""
    from tuneline_gguf_converter.merging.adapter import read_adapter
    from tuneline_gguf_converter.merging.writer import Task, link_model

    base, adapter = _write_base(folder / "base"), folder / "adapter"
    write_adapter(base, adapter)
    merged, links, names = folder / "merged", folder / "links", folder / "names.json"
    checkpoint, template = read_checkpoint(base), (base / "chat_template.jinja").read_text()
    for copy in (merged, links):
        copy.mkdir()
        link_model(checkpoint, copy, "bf16", template)
    for link in merged.glob("*.safetensors"):
        link.unlink()
    names.write_text("{}")
    (folder / "merge_by_peft.py").write_text(PEFT)
    options = ["--outtype", "bf16", "--metadata", str(names), "--outfile", str(folder / "peft.gguf")]
    peft = _run(folder, folder / "merge_by_peft.py", str(base), str(adapter), str(merged))
    theirs = _run(folder, llama_cpp.converter(), str(merged), *options)
    task = Task(
        converter=llama_cpp.converter(),
        folder=links,
        metadata=names,
        fingerprint="0" * 64,
        adapter=read_adapter(adapter, checkpoint, InputRecord(uri=None, sha256="0" * 64, size=1, count=1)),
        dtype="bf16",
        begins=True,
        destination=folder / "ours.gguf",
        problem=folder / "problem.txt",
    )
    (folder / "task.json").write_text(task.model_dump_json())
    ours = _run(folder, Path(sys.modules[Task.__module__].__file__ or ""), str(folder / "task.json"))
    memory = max(peft.memory, theirs.memory) / ours.memory
    return Ratios((peft.moved + theirs.moved) / ours.moved, memory, 2 * checkpoint.parameters)


STAGE_RUN = """\
import json, sys
from pathlib import Path
from kit.support import run_stage
from tuneline_gguf_converter.stage import STAGE
given, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
settings = {"quantizations": ["Q4_K_M", "Q8_0"], "min_top1_agreement": 0, "check_conversations": 1, "check_tokens": 64}
run_stage(STAGE, folder, inputs={name: Path(path) for name, path in given.items()}, params=settings)
"""


def moved_by_stage(folder: Path) -> float:
    """Return what the whole stage moves for two types, read once from disk, in models of 16 bits; after `compare`."""
    write_lines(folder / "slices.jsonl", [slice_of("t", ["How are you?", "Well, thank you."], "validation")])
    given = {name: str(folder / name) for name in ("base", "adapter", "slices.jsonl")}
    inputs = dict(zip(("base_model", "adapter", "slices"), given.values(), strict=True))
    (folder / "run_stage.py").write_text(STAGE_RUN)
    for name in ("peft.gguf", "ours.gguf"):
        (folder / name).unlink()
    shutil.rmtree(folder / "merged")
    took = _run(folder, folder / "run_stage.py", json.dumps(inputs), str(folder / "stage"))
    return took.moved / (2 * read_checkpoint(folder / "base").parameters)


def adapter_share(folder: Path) -> float:
    """Return how many times as large Gemma 2 9B is, with 16 bits, as its adapter of the default rank as a GGUF file."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from tuneline_gguf_converter.merging.adapter import Adapter, Change
    from tuneline_gguf_converter.merging.adapter_file import write_adapter_file

    sizes: dict[str, Any] = {"hidden_size": 3584, "intermediate_size": 14336, "num_hidden_layers": 42}
    heads: dict[str, Any] = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256}
    config = AutoConfig.for_model("gemma2", **sizes, **heads, architectures=["Gemma2ForCausalLM"])
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    parts: dict[str, torch.Tensor] = {}
    changes: dict[str, Change] = {}
    for name, weight in model.named_parameters():
        if any(f"{target}_proj." in name for target in "qkvo"):
            rows, columns = weight.shape
            parts |= {f"{name}.A": torch.zeros(64, columns, dtype=torch.bfloat16)}
            parts |= {f"{name}.B": torch.zeros(rows, 64, dtype=torch.bfloat16)}
            changes[name] = Change(up=f"{name}.B", down=f"{name}.A", turned=False, scaling=2.0)
    save_file(parts, folder / "adapter.safetensors")
    adapter = Adapter(file=folder / "adapter.safetensors", changes=changes, replaced={})
    write_adapter_file(adapter, folder, "", "0" * 64, folder / "adapter.gguf")
    whole: int = sum(weight.numel() for weight in model.parameters())
    return 2 * whole / (folder / "adapter.gguf").stat().st_size


def _write_base(folder: Path) -> Path:
    """Write a Gemma-2 of 268 million random weights in shards, with the tokenizer of the tiny one."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shutil.copytree(ROOT / ".cache" / "tiny-base", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16}
    kinds = ["sliding_attention", "full_attention"] * 8
    config = AutoConfig.from_pretrained(folder, **sizes, layer_types=kinds)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder, max_shard_size="100MB")
    return folder


def _run(folder: Path, script: Path, *arguments: str) -> Took:
    figures = folder / "figures.json"
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as content:
                os.fsync(content.fileno())
                os.posix_fadvise(content.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, str(figures), str(script), *arguments]
    paths = {"PYTHONPATH": str(ROOT / "tests")}
    subprocess.run(command, check=True, capture_output=True, env=os.environ | paths)
    return Took(*json.loads(figures.read_text()))


def main(figures: str, script: str, *arguments: str) -> None:
    """Run the script and write what it took, with the programs that it started and waited for."""
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")
    io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    Path(figures).write_text(json.dumps([int(io["read_bytes"]) + int(io["write_bytes"]), held("VmHWM")]))


if __name__ == "__main__":
    main(*sys.argv[1:])
