"""Finds the prompt: trials of scripts, each held against the recorded talks."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tuneline.data.io import Closed, write_lines
from tuneline.llm.client import LlmClient
from tuneline.llm.limits import ended
from tuneline.stage import Context, Cost, Metrics
from tuneline_calibrator.asking import Line, Lost, Purse
from tuneline_calibrator.given import Reference, filled, read_prompt, read_references
from tuneline_calibrator.stage import CalibratorInputs, CalibratorOutputs, CalibratorParams
from tuneline_calibrator.writer import ModelWriter, Writer, load_writer


class Row(Closed):
    """What became of a pair in a trial: a line of trials.jsonl."""

    trial: int
    pair: str
    status: str
    words: int
    seconds: float
    reference_seconds: float


def calibrate(
    params: CalibratorParams, inputs: CalibratorInputs, outputs: CalibratorOutputs, context: Context
) -> Metrics:
    """Write scripts by the prompt. Raises UserError for what cannot be used, Temporary when stopped or out of luck."""
    references = read_references(inputs.pairs, inputs.sources, inputs.talks)
    prompt, config = read_prompt(inputs.prompt), load_writer(inputs.writer)
    purse, account = Purse(params.max_usd), context.account("writer", config.model)
    with (
        ThreadPoolExecutor(params.concurrency, thread_name_prefix="calibrator") as pool,
        LlmClient(config, context.secret, params.timeout_s, concurrency=params.concurrency, account=account) as client,
    ):
        line = Line("writer", client, context, purse, ("script",))
        scripts = _scripts(prompt, references, ModelWriter(line), params, pool, context)
    rows = [_row(1, one, text) for one, text in zip(references, scripts, strict=True)]
    _write(outputs, prompt, rows, scripts)
    scored = sum(row.status == "written" for row in rows)
    headline = f"{scored:,} of {len(rows):,} scripts written by the first prompt"
    return Metrics(headline=headline, counts={"pairs": len(rows), "written": scored}, cost=Cost.of(line.spent))


def _scripts(
    prompt: str, references: Sequence[Reference], writer: Writer, params: CalibratorParams, pool: ThreadPoolExecutor,
    context: Context,
) -> list[str | Lost]:  # fmt: skip
    """Return a script of each source, or why there is none."""
    found: dict[str, str | Lost] = {}

    def write(one: Reference) -> str | Lost:
        try:
            return writer.script(filled(prompt, one.source, ""), params.seed)
        except Lost as lost:
            return lost

    def safe_point() -> None:
        context.progress(len(found), len(references))

    for one, future in ended(references, lambda one: pool.submit(write, one), params.concurrency, safe_point):
        found[one.name] = future.result()
    return [found[one.name] for one in references]


def _row(trial: int, one: Reference, script: str | Lost) -> Row:
    words = 0 if isinstance(script, Lost) else len(script.split())
    return Row(
        trial=trial, pair=one.name, status=script.status if isinstance(script, Lost) else "written", words=words,
        seconds=round(60 * words / one.words_a_minute, 3), reference_seconds=round(one.seconds, 3),
    )  # fmt: skip


def _write(outputs: CalibratorOutputs, prompt: str, rows: Sequence[Row], scripts: Sequence[str | Lost]) -> None:
    outputs.prompt.write_text(f"{prompt}\n", encoding="utf-8")
    write_lines(outputs.trials, rows)
    for row, script in zip(rows, scripts, strict=True):
        if isinstance(script, str):
            place: Path = outputs.scripts / str(row.trial) / f"{row.pair}.txt"
            place.parent.mkdir(exist_ok=True)
            place.write_text(f"{script}\n", encoding="utf-8")
