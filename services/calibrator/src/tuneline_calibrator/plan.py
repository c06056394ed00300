"""What writer and judge will take, before anything is written: every trial counts that there may be.

Where the recordings are not heard yet, their words are taken from how long they are, those of documents as counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple

from tuneline.data.io import read_lines
from tuneline.data.text.recordings import PairRow, TalkRow
from tuneline.llm.config import ModelConfig
from tuneline.llm.forecast import Expected, forecast
from tuneline.llm.token_counts import count_tokens
from tuneline.stage import Forecast, Plans, Usage, dollars
from tuneline_calibrator.check import warn_of_cuts
from tuneline_calibrator.models.judge import MOST_PASSAGES, load_judge
from tuneline_calibrator.models.writer import load_writer
from tuneline_calibrator.stage import CalibratorParams
from tuneline_calibrator.talks.given import read_prompt, read_references

GIVEN = {"pairs", "sources", "talks"}
WORDS_A_MINUTE = 150
"""Of a talk that nobody has heard yet."""
TOKENS_PER_WORD = 1.35
"""Of a text that is not there yet, in English about."""
QUESTION_TOKENS, PROFILE_TOKENS, EVIDENCE_TOKENS = 180, 110, 750
"""What a judge is asked around a text, what a profile says, and what goes back to the writer."""
PASSAGE_S, PASSAGE_TOKENS, KIND_TOKENS = 26, 5, 4
"""Seconds of a passage, and what its number and its kind take."""
CONCEPT_TOKENS, ID_TOKENS, QUALITY_TOKENS, CHANGES_TOKENS = 35, 4, 80, 120
"""What is written about each concept, to name one that is explained, about the quality, and about an edit."""


class Size(NamedTuple):
    """A pair, in tokens."""

    source: int
    talk: int
    seconds: float
    """How long the talk is."""


class Call(NamedTuple):
    """Tokens of a prompt and of its answer."""

    sent: int
    said: float


def plan_trials(params: CalibratorParams, plans: Plans) -> Iterator[Forecast]:
    """Count what writer and judge will be sent."""
    writer, judge = plans.read("writer", load_writer), plans.read("judge", load_judge)
    prompt = plans.read("prompt", read_prompt)
    first, further = _sizes(plans)
    if not first or prompt is None:
        return
    if not plans.inputs.keys() >= GIVEN:  # of those that are given, the check says it
        warn_of_cuts(writer, max(one.talk for one in first), plans)
    plans.note(
        f"{len(first):,} pairs, at most {params.max_trials} trials; a script is taken to be as long as its talk, "
        f"{round(fmean(one.talk for one in first)):,} tokens, from a source of "
        f"{round(fmean(one.source for one in first)):,}"
    )
    at_once, left = min(params.concurrency, len(first) * params.repeats), 0.0
    for role, config, calls in (
        ("writer", writer, [*_written(params, first, count_tokens(prompt))]),
        ("judge", judge, [*_judged(params, first, further)]),
    ):
        if isinstance(config, ModelConfig):
            expected = Expected([call.sent for call in calls], fmean(call.said for call in calls))
            found = forecast(config, role, config.model, expected, Usage(), at_once)
            left += found.left_usd or 0.0
            yield found
    if params.max_usd is not None and left > params.max_usd:
        plans.warn("max_usd", f"{dollars(params.max_usd)} is less than what all trials may cost, {dollars(left)}")


def _sizes(plans: Plans) -> tuple[list[Size], list[Size]]:
    """Return the pairs that scripts are held against, and the further recordings of their sources."""
    seen, first, further = set[str](), list[Size](), list[Size]()
    for source, size in _given(plans) if plans.inputs.keys() >= GIVEN else _expected(plans):
        (further if source in seen else first).append(size)
        seen.add(source)
    return first, further


def _given(plans: Plans) -> Iterator[tuple[str, Size]]:
    """Yield what tells sources apart, and the size of each pair."""
    for one in read_references(*(plans.inputs[name] for name in ("pairs", "sources", "talks"))):
        yield one.source_sha256, Size(count_tokens(one.source), count_tokens(one.text), one.seconds)


def _expected(plans: Plans) -> Iterator[tuple[str, Size]]:
    """Yield the same of pairs that the transcriber has made, or as far as it knows them before."""
    rows, heard = plans.made("transcriber", "pairs"), plans.made("transcriber", "talks")
    talks = read_lines(heard, TalkRow) if heard else ()
    said = {row.pair: " ".join(segment.text for segment in row.segments) for row in talks}
    for row in sorted(read_lines(rows, PairRow), key=lambda row: row.pair) if rows else ():
        if row.status == "ready":
            guess = round(row.seconds / 60 * WORDS_A_MINUTE * TOKENS_PER_WORD)
            talk = count_tokens(said[row.pair]) if row.pair in said else guess
            yield row.source_sha256 or row.pair, Size(round(row.words * TOKENS_PER_WORD), talk, row.seconds)


def _written(params: CalibratorParams, pairs: Sequence[Size], prompt: int) -> Iterator[Call]:
    """Yield the scripts of all trials, and the edits between them."""
    for one in pairs:
        yield from [Call(prompt + PROFILE_TOKENS + one.source, one.talk)] * params.repeats * params.max_trials
    edit = Call(QUESTION_TOKENS + EVIDENCE_TOKENS + prompt, prompt + CHANGES_TOKENS)
    yield from [edit] * (params.max_trials - 1)


def _judged(params: CalibratorParams, pairs: Sequence[Size], further: Sequence[Size]) -> Iterator[Call]:
    """Yield what is asked about talks, about the scripts of all trials, about further recordings, and once again."""
    concepts = params.max_concepts * CONCEPT_TOKENS
    for one in pairs:
        yield from _kinds(one)
        yield Call(QUESTION_TOKENS + one.source + one.talk, concepts)
    scripts = [*pairs] * params.repeats
    for one in [*scripts * params.max_trials, *further]:
        yield from _kinds(one)
    for one in [*scripts * params.max_trials, *further, *scripts[: params.rejudged]]:
        yield Call(QUESTION_TOKENS + concepts + one.talk, params.max_concepts * ID_TOKENS)
        yield Call(QUESTION_TOKENS + one.source + one.talk, QUALITY_TOKENS)


def _kinds(one: Size) -> Iterator[Call]:
    passages = max(1, round(one.seconds / PASSAGE_S))
    calls = -(-passages // MOST_PASSAGES)
    sent = QUESTION_TOKENS + (one.talk + passages * PASSAGE_TOKENS) / calls
    yield from [Call(round(sent), passages * KIND_TOKENS / calls)] * calls
