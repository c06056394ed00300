"""The cards of adapter and GGUF files: what they are, what was found or could not be seen, how they were made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tuneline import __version__
from tuneline.judge.card import JudgeCard
from tuneline.stage import Json, Maker
from tuneline_publisher.facts import Facts
from tuneline_publisher.stage import PublisherParams
from tuneline_publisher.text import card, code, plain, table

TAGS: list[Json] = ["tuneline", "conversational"]


def gguf_card(params: PublisherParams, facts: Facts, files: Mapping[str, Path]) -> str:
    """Return the card of the GGUF files."""
    front = _front(params, facts, "quantized") | {"library_name": "gguf", "tags": ["gguf", *TAGS]}
    model = facts.gguf
    lines = [f"# {plain(model.name if model else 'Model')}", ""]
    if model:
        lines += [f"{plain(model.architecture)}, {model.parameters:,} parameters, made with Tuneline.", ""]
        lines += table(["file", "bytes"], ([code(name), f"{size:,}"] for name, size in sorted(model.sizes.items())))
        lines += [
            "## Run it", "",
            f"`llama-server -m {printable_name(model.file)}`, or with Ollama, beside the Modelfile: "
            "`ollama create my-model -f Modelfile`.", "",
        ]  # fmt: skip
        if model.adapter:
            lines += [f"{code(model.adapter.file)} is the adapter alone, for `llama-server -m BASE.gguf --lora`.", ""]
        lines += ["## Checked against the merged model", ""]
        passed = (
            [plain(c.name), code(c.file), "passed" if c.passed else "FAILED", plain(c.detail)] for c in model.checks
        )
        lines += table(["check", "file", "", "what was seen"], passed)
    return card(front, [*lines, *_verdict(facts), *_training(facts), *_made(facts), *licence_lines(params, facts)])


def adapter_card(params: PublisherParams, facts: Facts) -> str:
    """Return the card of the adapter."""
    front = _front(params, facts, "adapter") | {"library_name": "peft", "tags": ["lora", *TAGS]}
    base = facts.base
    of = f" of {plain(base.name)}" if base and base.name else ""
    lines = [f"# LoRA adapter{of}", "", "It changes nothing without its base model, which is not part of it.", ""]
    return card(front, [*lines, *_verdict(facts), *_training(facts), *_made(facts), *licence_lines(params, facts)])


def judge_lines(judges: Sequence[JudgeCard]) -> Iterator[str]:
    """Say who judged."""
    for judge in judges:
        about = [f"provider {plain(judge.provider)}", f"family {plain(judge.family)}"]
        about += [f"model {code(judge.model)}"] if judge.model else []
        about += [f"prompt version {judge.prompt_version}"] if judge.prompt_version else []
        about += [f"asked from {judge.first_judged} to {judge.last_judged}"] if judge.first_judged else []
        about += [f"questions sha256 {code(judge.questions_sha256[:16])}"]
        yield f"- **{plain(judge.label)}**: {', '.join(about)}."
    yield ""


def made_lines(makers: Mapping[str, Maker]) -> list[str]:
    """Say which results this comes from."""
    rows = (
        [plain(m.stage), str(m.version), code(m.fingerprint[:16]), code(m.manifest_sha256), plain(m.finished_at)]
        for m in makers.values()
    )
    return [
        f"Published by Tuneline {__version__}. `provenance.intoto.json` has all parameters and hashes, "
        "`SHA256SUMS` those of the files.", "",
        *table(["stage", "version", "result", "sha256 of its manifest", "made"], rows),
    ]  # fmt: skip


def licence_lines(params: PublisherParams, facts: Facts) -> list[str]:
    """Say what the licence is, and whose."""
    known = facts.licence.get("license_name") or facts.licence.get("license")
    if params.licence:
        base = f" The base model's own: {plain(known)}." if known else ""
        return ["## Licence", "", f"{plain(params.licence)}, as whoever published this says.{base}", ""]
    if known:
        return ["## Licence", "", f"{plain(known)}, that of the base model.", ""]
    return ["## Licence", "", "Not known: the base model that was given says none. Ask whoever published this.", ""]


def printable_name(name: str) -> str:
    """Return a file's name as it can stand in a line of code."""
    return code(name).strip("`")


def _front(params: PublisherParams, facts: Facts, relation: str) -> dict[str, Json]:
    licence: dict[str, Json] = {"license": params.licence} if params.licence else dict(facts.licence)
    base: dict[str, Json] = {}
    if facts.base and facts.base.name:
        base = {"base_model": facts.base.name, "base_model_relation": relation}
    return licence | base | {"pipeline_tag": "text-generation"}


def _verdict(facts: Facts) -> list[str]:
    if facts.outcome is None:
        return ["## Is it better than its base model?", "", "Nobody compared them.", ""]
    summary = facts.summary.removeprefix("## ").splitlines()
    if not summary:
        summary = [plain(facts.outcome.headline)]
    unseen = [f"- {plain(note)}" for note in facts.outcome.notes] or ["- Nothing that the comparison knows of."]
    heading = ["## Is it better than its base model?", "", f"**{summary[0]}**", *summary[1:], ""]
    judged = ["### Judge", "", *judge_lines(facts.outcome.judges)]
    return [*heading, "### What could not be seen, and what limits it", "", *unseen, "", *judged]


def _training(facts: Facts) -> list[str]:
    training = facts.training
    if training is None:
        return []
    examples, losses = training.examples, training.losses
    after = "not measured" if training.shipped_loss is None else f"{training.shipped_loss:.4f}"
    before = "not measured" if losses.validation_before is None else f"{losses.validation_before:.4f}"
    rows = [
        ["examples for training", f"{examples.train.slices:,} with {examples.train.supervised_tokens:,} learnt tokens"],
        ["held out", f"{examples.validation.slices:,}"],
        ["steps", f"{training.kept_step:,} of {training.steps:,}"],
        ["parameters", f"{training.parameters.trained:,} trained, {training.parameters.base:,} of the base model"],
        ["validation loss (nats per token)", f"{before} before, {after} of this adapter"],
        ["device", plain(f"{training.setup.device}, {training.setup.dtype}, {training.setup.quantization}")],
        ["libraries", plain(", ".join(f"{name} {version}" for name, version in training.setup.libraries.items()))],
    ]
    return ["## Training", "", *table(["", ""], rows)]


def _generated(facts: Facts) -> Iterator[str]:
    """Say what of the training set a model wrote, by which recipe, and who has looked at it."""
    if facts.slices:
        for one in facts.slices.generated:
            count = f"{one.transcripts:,} of the {facts.slices.sliced:,} transcripts that were learnt from"
            yield f"**Generated data.** {count} were written by a model ({one.how.words})."
            yield ""


def _made(facts: Facts) -> list[str]:
    base = facts.base
    lines = ["## How it was made", "", *made_lines(facts.makers)]
    if base:
        named = f"{plain(base.name)} at commit {code(base.commit)}" if base.name else "not public"
        lines += [f"Base model: {named}, sha256 {code(base.sha256)}.", ""]
    lines += list(_generated(facts))
    return [*lines, "The transcripts were chosen by:", "", *judge_lines(facts.judges)] if facts.judges else lines
