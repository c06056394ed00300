"""From base model and adapter to checked GGUF files."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import write_record
from tuneline.data.model_facts import CHECKS, Check, ModelFacts
from tuneline.model import llama_cpp
from tuneline.model.base_model import Checkpoint, read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import Header, read_header
from tuneline.stage import Context, Json, Metrics
from tuneline_gguf_converter.adapter import Adapter, read_adapter
from tuneline_gguf_converter.checks import Subject, check_file, end_of_turn
from tuneline_gguf_converter.merge import merge
from tuneline_gguf_converter.metadata import Identity, identify, write_metadata
from tuneline_gguf_converter.ollama import modelfile, turn_form
from tuneline_gguf_converter.reference import likeliest_tokens
from tuneline_gguf_converter.samples import Samples, choose_samples
from tuneline_gguf_converter.stage import GgufConverterInputs, GgufConverterOutputs, GgufConverterParams


class Prepared(NamedTuple):
    """What is known before the first weight is read."""

    params: GgufConverterParams
    base: Checkpoint
    adapter: Adapter | None
    tokenizer: ChatTokenizer
    samples: Samples
    identity: Identity


class File(NamedTuple):
    """A finished file."""

    path: Path
    encoding: str
    header: Header


def convert(
    params: GgufConverterParams, inputs: GgufConverterInputs, outputs: GgufConverterOutputs, context: Context
) -> Metrics:
    """Merge, convert, quantise and check; write the files, gguf.json and the Modelfile.

    The merged model is no checkpoint: making it again takes less time than bringing 18 GB (of a 9 B model) to a store
    and back. So it lies in a `.part` folder, which the runner does not keep.
    """
    prepared = prepare(params, inputs, context)
    base, samples = prepared.base, prepared.samples
    total = len(base.files) + len(samples.predicted) + 1 + (1 + len(CHECKS)) * len(params.quantizations)
    done = count(1)

    def tick() -> None:
        context.progress(next(done), total)

    likeliest, unquantised = make_unquantised(prepared, context.state / "merging.part", tick)
    files, checks = [], []
    for encoding in params.quantizations:
        files.append(quantise(prepared, unquantised, encoding, outputs.model, context.fingerprint))
        tick()
    for path, _, header in files:
        of_all = (prepared.tokenizer, samples, likeliest, params.min_top1_agreement, params.threads)
        checks += check_file(Subject(path, header, *of_all), tick)
    write_results(prepared, files, checks, outputs)
    return _metrics(files, checks)


def prepare(params: GgufConverterParams, inputs: GgufConverterInputs, context: Context) -> Prepared:
    """Read everything but weights. Raises UserError for what can be known to be wrong before the long part."""
    for name in ("llama-server", "llama-quantize"):
        llama_cpp.program(name)
    llama_cpp.converter()
    base = read_checkpoint(inputs.base_model)
    adapter = read_adapter(inputs.adapter, base, context.lineage["base_model"]) if inputs.adapter else None
    tokenizer = ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    samples = choose_samples(
        tokenizer, inputs.slices, params.check_conversations, params.check_positions, params.check_tokens
    )
    identity = identify(params, base, context.lineage, adapter is not None)
    return Prepared(params, base, adapter, tokenizer, samples, identity)


def make_unquantised(prepared: Prepared, folder: Path, tick: Callable[[], None]) -> tuple[list[list[int]], Path]:
    """Return the merged model's likeliest tokens, and the merged model as a GGUF file of 16 bits per weight."""
    merged, unquantised = folder / "merged", folder / "unquantised.gguf"
    folder.mkdir()
    dtype, metadata = prepared.params.merge_dtype, merged / "tuneline-metadata.json"
    merge(prepared.base, prepared.adapter, merged, dtype, prepared.tokenizer.template, tick)
    likeliest = likeliest_tokens(merged, prepared.samples.predicted, prepared.params.threads, tick)
    write_metadata(merged, prepared.base.folder, prepared.identity, metadata)
    options: list[str | Path] = ["--outtype", dtype, "--outfile", unquantised, "--metadata", metadata]
    llama_cpp.run_program([sys.executable, llama_cpp.converter(), merged, *options])
    tick()
    shutil.rmtree(merged)  # as large as the file that was made of it
    return likeliest, unquantised


def quantise(prepared: Prepared, unquantised: Path, encoding: str, folder: Path, fingerprint: str) -> File:
    """Make one file of type `encoding`, named after the model and marked with the result that it belongs to."""
    path = folder / prepared.identity.file_name(read_header(unquantised).text("general.size_label"), encoding)
    part = path.with_name(f"{path.name}.part")
    mark = ["--override-kv", f"tuneline.fingerprint=str:{fingerprint}"]
    threads = [str(prepared.params.threads)] if prepared.params.threads else []
    llama_cpp.run_program([llama_cpp.program("llama-quantize"), *mark, unquantised, part, encoding, *threads])
    part.rename(path)
    return File(path, encoding, read_header(path))


def write_results(prepared: Prepared, files: list[File], checks: list[Check], outputs: GgufConverterOutputs) -> None:
    """Write gguf.json and the Modelfile, both about the first file."""
    first = files[0]
    stop = first.header.token(end_of_turn(prepared.tokenizer, prepared.samples))
    facts = ModelFacts(
        name=first.path.stem,
        file=first.path.name,
        file_type=first.encoding,
        architecture=first.header.text("general.architecture"),
        parameters=first.header.parameters,
        sizes={file.path.name: file.path.stat().st_size for file in files},
        template_sha256=first.header.template_sha256,
        tokenizer_sha256=first.header.tokenizer_sha256,
        converter=_converter_sha256(),
        llama_cpp=llama_cpp.version(llama_cpp.program("llama-server")),
        base_model=prepared.identity.base_model,
        metadata=first.header.about(),
        checks=tuple(checks),
    )
    write_record(outputs.gguf, facts)
    form = turn_form(prepared.tokenizer, first.header, prepared.samples.texts)
    outputs.modelfile.write_text(modelfile(first.path.name, first.header, stop, form), encoding="utf-8")


def _converter_sha256() -> str:
    script = llama_cpp.converter()
    parts = [script, *sorted((script.parent / "conversion").glob("*.py"))]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def _metrics(files: list[File], checks: list[Check]) -> Metrics:
    agreement = next(check.value for check in checks if check.name == "top1_agreement") or 0.0
    name, size = files[0].path.name, files[0].path.stat().st_size
    total = sum(file.path.stat().st_size for file in files)
    counts: dict[str, Json] = {"files": len(files), "bytes": total, "top1_agreement": agreement, "checks": len(checks)}
    agreed = f"top-1 agreement with the merged model: {agreement:.0%}"
    return Metrics(headline=f"{name}: {size / 1e6:,.1f} MB, {agreed}", counts=counts)
