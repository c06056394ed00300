"""From base model and adapter to checked GGUF files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from tuneline.data.io import write_record
from tuneline.data.model_facts import CHECKS, AdapterFile, Check, Fidelity, ModelFacts
from tuneline.model import llama_cpp
from tuneline.model.base_model import Checkpoint, read_checkpoint
from tuneline.model.chat import ChatTokenizer
from tuneline.model.gguf_header import Header, read_header
from tuneline.model.known_models import refuse_unknown_split
from tuneline.stage import Context, Json, Metrics
from tuneline_gguf_converter.checking.checks import Agreed, Subject, check_agreement, check_reading, end_of_turn
from tuneline_gguf_converter.checking.fidelity import Foreseen
from tuneline_gguf_converter.checking.reference import foresee
from tuneline_gguf_converter.checking.samples import Samples, choose_samples
from tuneline_gguf_converter.imatrix import (
    Calibration,
    facts_of,
    matrix_of,
    programs,
    read_calibration,
    refuse_without_matrix,
)
from tuneline_gguf_converter.merging.adapter import Adapter, read_adapter, refuse_other_chat
from tuneline_gguf_converter.merging.adapter_file import NUMBERS, refuse_unfit, write_adapter_file
from tuneline_gguf_converter.merging.merge import merged_weights
from tuneline_gguf_converter.merging.metadata import Identity, card, identify, licence_of, write_metadata
from tuneline_gguf_converter.merging.writer import Task, link_model, write_merged
from tuneline_gguf_converter.ollama import modelfile, turn_form
from tuneline_gguf_converter.stage import GgufConverterInputs, GgufConverterOutputs, GgufConverterParams


class Prepared(NamedTuple):
    """What is known before the first weight is read."""

    params: GgufConverterParams
    base: Checkpoint
    adapter: Adapter | None
    tokenizer: ChatTokenizer
    samples: Samples
    identity: Identity
    calibration: Calibration | None

    @property
    def ships_adapter(self) -> bool:
        return self.params.adapter_file and self.adapter is not None


class Unquantised(NamedTuple):
    """The merged model with 16 bits per weight, and the importance matrix for what is made of it."""

    path: Path
    matrix: Path | None = None


class File(NamedTuple):
    """A finished file."""

    path: Path
    encoding: str
    header: Header


def convert(
    params: GgufConverterParams, inputs: GgufConverterInputs, outputs: GgufConverterOutputs, context: Context
) -> Metrics:
    """Merge, convert, quantise and check; write the files, gguf.json and the Modelfile.

    What costs little comes first: a template that llama.cpp reads differently is found before the merged model is
    computed. The file of 16 bits is no checkpoint: making it again takes less time than bringing 18 GB (of a 9 B model)
    to a store and back. So it lies in a `.part` folder, which the runner does not keep.
    """
    prepared = prepare(params, inputs, context)
    steps = 1 + bool(prepared.calibration) + 2 * prepared.ships_adapter
    total = steps + len(prepared.samples.predicted) + (1 + len(CHECKS)) * len(params.quantizations)
    done = count(1)

    def tick() -> None:
        context.progress(next(done), total)

    context.tell("writing the model in 16 bits")
    unquantised = write_unquantised(prepared, context.state / "merging.part", context.fingerprint, tick)
    if prepared.calibration:
        context.tell("measuring what the model uses most")
        matrix = matrix_of(prepared.calibration, unquantised.path, params.threads)
        unquantised = unquantised._replace(matrix=matrix)
        tick()
    context.tell("quantising")
    files = [quantise(prepared, unquantised, encoding, outputs.model, tick) for encoding in params.quantizations]
    subjects = [Subject(file.path, file.header, prepared.tokenizer, prepared.samples, params.threads) for file in files]
    checks = [check for subject in subjects for check in check_reading(subject, tick)]
    context.tell("comparing with the model before quantisation")
    foreseen = foresee_with_merged(prepared, unquantised.path.parent / "model", tick)
    agreed = [
        check_agreement(subject, file.encoding, foreseen, params.min_top1_agreement, tick)
        for subject, file in zip(subjects, files, strict=True)
    ]
    checks += [one.check for one in agreed]
    adapter = ship_adapter(prepared, unquantised, foreseen, context.fingerprint, outputs.model, tick)
    write_results(prepared, files, checks, [one.fidelity for one in agreed], adapter, outputs)
    return _metrics(files, checks, agreed)


def prepare(params: GgufConverterParams, inputs: GgufConverterInputs, context: Context) -> Prepared:
    """Read everything but weights. Raises UserError for what can be known to be wrong before the long part."""
    for name in programs(inputs.imatrix is not None):
        llama_cpp.program(name)
    llama_cpp.converter()
    if not inputs.imatrix:
        refuse_without_matrix(params.quantizations)
    base = read_checkpoint(inputs.base_model)
    adapter = read_adapter(inputs.adapter, base, context.lineage["base_model"]) if inputs.adapter else None
    if adapter and params.adapter_file:
        refuse_unfit(adapter)
    tokenizer = ChatTokenizer.from_folder(inputs.base_model, inputs.chat_template)
    refuse_unknown_split(inputs.base_model, tokenizer)
    if inputs.adapter:
        refuse_other_chat(inputs.adapter, tokenizer, inputs.chat_template)
    samples = choose_samples(
        tokenizer, inputs.slices, params.check_conversations, params.check_positions, params.check_tokens
    )
    identity = identify(params, base, context.lineage, adapter is not None)
    calibration = read_calibration(inputs.imatrix, tokenizer, params.imatrix_tokens) if inputs.imatrix else None
    return Prepared(params, base, adapter, tokenizer, samples, identity, calibration)


def write_unquantised(prepared: Prepared, folder: Path, fingerprint: str, tick: Callable[[], None]) -> Unquantised:
    """Write the merged model as a GGUF file with 16 bits per weight, named after the result that it belongs to."""
    model, destination = folder / "model", folder / "unquantised.gguf"
    model.mkdir(parents=True)
    dtype, template = prepared.params.merge_dtype, prepared.tokenizer.template
    unties = prepared.adapter is not None and prepared.adapter.unties
    space_first = prepared.tokenizer.writes_space_first
    link_model(prepared.base, model, dtype, template, space_first=space_first, unties=unties)
    write_metadata(model, prepared.base.folder, prepared.identity, folder / "metadata.json")
    task = Task(
        converter=llama_cpp.converter(),
        folder=model,
        metadata=folder / "metadata.json",
        fingerprint=fingerprint,
        adapter=prepared.adapter,
        dtype=dtype,
        begins=prepared.tokenizer.writes_beginning,
        destination=destination,
        problem=folder / "problem.txt",
    )
    write_merged(task, folder / "task.json")
    tick()
    return Unquantised(destination)


def quantise(
    prepared: Prepared, unquantised: Unquantised, encoding: str, folder: Path, tick: Callable[[], None]
) -> File:
    """Make one file of type `encoding`, named after the model."""
    source, matrix = unquantised.path, unquantised.matrix
    path = folder / prepared.identity.file_name(read_header(source).text("general.size_label"), encoding)
    part = path.with_name(f"{path.name}.part")
    threads = [str(prepared.params.threads)] if prepared.params.threads else []
    if encoding == prepared.params.merge_dtype.upper():
        part.hardlink_to(source)  # there is nothing to quantise
    else:
        # The matrix by its name alone, which is written into the file.
        options = ["--imatrix", matrix.name] if matrix else []
        options += [str(source.absolute()), str(part.absolute()), encoding, *threads]
        llama_cpp.run_program([llama_cpp.program("llama-quantize"), *options], cwd=source.parent)
    part.rename(path)
    tick()
    return File(path, encoding, read_header(path))


def foresee_with_merged(prepared: Prepared, folder: Path, tick: Callable[[], None]) -> list[list[Foreseen]]:
    """Return what the merged model foresees, by transformers and not by llama.cpp."""
    dtype, samples = prepared.params.merge_dtype, prepared.samples.predicted
    weights = merged_weights(prepared.base, prepared.adapter, dtype)
    return foresee(folder, weights, dtype, samples, prepared.params.threads, tick)


def ship_adapter(
    prepared: Prepared,
    unquantised: Unquantised,
    foreseen: list[list[Foreseen]],
    fingerprint: str,
    folder: Path,
    tick: Callable[[], None],
) -> AdapterFile | None:
    """Write the adapter as a file of its own, and compare the base model that is served with it to the merged model.

    The unquantised merged model makes room for the unquantised base model.
    """
    if not prepared.adapter or not prepared.ships_adapter:
        return None
    label = read_header(unquantised.path).text("general.size_label")
    place = folder / prepared.identity.file_name(label, NUMBERS.upper(), "LoRA")
    unquantised.path.unlink()
    alone = prepared._replace(adapter=None)
    base = write_unquantised(alone, unquantised.path.parent / "base", fingerprint, tick)
    made, front = base.path.with_name("adapter.gguf"), licence_of(prepared.base.folder)
    readme = card(front | {"name": f"{prepared.identity.title} adapter"})
    write_adapter_file(prepared.adapter, base.path.parent / "model", readme, fingerprint, made)
    made.rename(place)
    subject = Subject(base.path, read_header(base.path), prepared.tokenizer, prepared.samples, prepared.params.threads)
    found = check_agreement(
        subject, NUMBERS, foreseen, prepared.params.min_top1_agreement, tick, adapter=place
    ).fidelity
    shared = found.model_dump(include=set(AdapterFile.model_fields))
    return AdapterFile.model_validate(shared)


def write_results(
    prepared: Prepared,
    files: list[File],
    checks: list[Check],
    fidelity: list[Fidelity],
    adapter: AdapterFile | None,
    outputs: GgufConverterOutputs,
) -> None:
    """Write gguf.json and the Modelfile, both about the first file."""
    first, sizes = files[0], {file.path.name: file.path.stat().st_size for file in files}
    stop = first.header.token(end_of_turn(prepared.tokenizer, prepared.samples))
    facts = ModelFacts(
        name=first.path.stem,
        file=first.path.name,
        file_type=first.encoding,
        architecture=first.header.text("general.architecture"),
        parameters=first.header.parameters,
        sizes=sizes | ({adapter.file: adapter.bytes} if adapter else {}),
        template_sha256=first.header.template_sha256,
        tokenizer_sha256=first.header.tokenizer_sha256,
        converter=_converter_sha256(),
        llama_cpp=llama_cpp.version(llama_cpp.program("llama-server")),
        base_model=prepared.identity.base_model,
        metadata=first.header.about(),
        checks=tuple(checks),
        fidelity=tuple(fidelity),
        adapter=adapter,
        imatrix=facts_of(prepared.calibration) if prepared.calibration else None,
    )
    write_record(outputs.gguf, facts)
    form = turn_form(prepared.tokenizer, first.header, prepared.samples.texts)
    outputs.modelfile.write_text(modelfile(first.path.name, first.header, stop, form), encoding="utf-8")


def _converter_sha256() -> str:
    script = llama_cpp.converter()
    parts = [script, *sorted((script.parent / "conversion").glob("*.py"))]
    return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()


def _metrics(files: list[File], checks: list[Check], agreed: list[Agreed]) -> Metrics:
    """Return headline and counts. Speed and memory are those of this machine, so they are no part of the result."""
    first, top1 = files[0].path, agreed[0].fidelity.top1
    total = sum(file.path.stat().st_size for file in files)
    counts: dict[str, Json] = {
        "files": len(files),
        "bytes": total,
        "top1_agreement": top1.value,
        "checks": len(checks),
        "tokens_per_second": {one.fidelity.file_type: one.pace.tokens_per_second for one in agreed},
        "memory_bytes": {one.fidelity.file_type: one.pace.memory_bytes for one in agreed},
    }
    said = f"top-1 agreement with the merged model: {top1.value:.0%} ({top1.low:.0%} to {top1.high:.0%})"
    return Metrics(headline=f"{first.name}: {first.stat().st_size / 1e6:,.1f} MB, {said}", counts=counts)
