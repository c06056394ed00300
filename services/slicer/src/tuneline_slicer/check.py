"""What can be known of the slices before any transcript is judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.judged import read_judged
from tuneline.data.transcripts import Transcript
from tuneline.errors import UserError
from tuneline.llm.token_counts import load_planning_encoding
from tuneline.model.base_model import context_tokens
from tuneline.model.chat import ChatTokenizer
from tuneline.model.system_prompt import markdown_around, read_system_prompt
from tuneline.stage import Checks
from tuneline_slicer.ruler import limit_of
from tuneline_slicer.slice import select_passing
from tuneline_slicer.split import split_groups
from tuneline_slicer.stage import SlicerParams
from tuneline_slicer.token_counts import CleanTranscript

MOST_COUNTED = 20
"""Transcripts whose tokens are counted: the longest, or the shortest, in characters."""


def check_given(params: SlicerParams, checks: Checks) -> None:
    """Read tokenizer and system prompt, and see whether transcripts as they are can become slices that train."""
    if checks.work:
        with checks.about(""):
            load_planning_encoding()
    system = checks.read("system_prompt", read_system_prompt)
    if system and (problem := markdown_around(system)):
        checks.warn("system_prompt", problem)
    chat = checks.read("base_model", ChatTokenizer.from_folder, checks.inputs.get("chat_template"))
    limit = checks.read("base_model", lambda path: limit_of(params, context_tokens(path)))
    judged = checks.read("judged", lambda path: list(read_judged(path)))
    if judged and "verdicts" in checks.inputs:  # given too, so they must belong together
        checks.read("verdicts", lambda path: select_passing(judged, path))
    long_enough = [t for t in judged or [] if len(t.exchanges) >= params.min_context]
    if judged is not None:
        _check_counts(params, checks, judged, long_enough)
    if chat and limit and long_enough:
        with checks.about("base_model"):
            _check_shortest(params, Measure(chat, system), limit, long_enough)
        with checks.about("base_model"):
            _check_longest(checks, Measure(chat, system), limit, sorted(long_enough, key=_characters))


def _check_counts(params: SlicerParams, checks: Checks, judged: Sequence[Transcript], enough: Sequence[object]) -> None:
    if not enough:
        longest = max(len(transcript.exchanges) for transcript in judged)
        with checks.about("min_context"):
            raise UserError(
                f"`min_context`={params.min_context} is more exchanges than any of {len(judged)} transcripts has. "
                f"Use at most {longest}."
            )
        return
    with checks.about("validation_fraction"):  # of all: the fewer pass, the harder it gets
        split_groups([[str(number)] for number in range(len(enough))], params.validation_fraction)


class Measure(NamedTuple):
    """What counts the tokens of the exchanges after the first `dropped` up to the `point`-th."""

    chat: ChatTokenizer
    system: str | None

    def tokens(self, transcript: Transcript, dropped: int, point: int) -> int:
        messages = CleanTranscript(transcript, self.system, self.chat).messages(dropped, point)
        return len(self.chat.encode(self.chat.render(messages)))


def _check_shortest(params: SlicerParams, measure: Measure, limit: int, transcripts: Sequence[Transcript]) -> None:
    """Raise UserError when not even the shortest exchanges, `min_context` in a row, make a slice."""
    size = params.min_context
    spans = [(_characters(t, at, at + size), t, at) for t in transcripts for at in range(len(t.exchanges) - size + 1)]
    shortest = sorted(spans, key=lambda span: span[0])[:MOST_COUNTED]
    least = min(measure.tokens(transcript, at, at + size) for _, transcript, at in shortest)
    if least > limit:
        raise UserError(
            f"`min_context`={size} exchanges take {least:,} tokens or more, and a slice may have {limit:,}. "
            "Use a smaller `min_context`, a larger `max_tokens`, or a model with more context."
        )


def _check_longest(checks: Checks, measure: Measure, limit: int, transcripts: Sequence[Transcript]) -> None:
    """Raise UserError when a slice may be longer than the trainer takes; `transcripts` are sorted by length."""
    most = checks.setting("trainer", "max_length")
    if isinstance(most, int) and most < limit:
        counts = {t.id: measure.tokens(t, 0, len(t.exchanges)) for t in transcripts[-MOST_COUNTED:]}
        if long := {name: count for name, count in counts.items() if most < count}:
            name, count = next(reversed(long.items()))
            raise UserError(
                f"`max_tokens`: slices may have {limit:,} tokens, and the trainer refuses those over its max_length of "
                f"{most:,}: {len(long)} of the {len(counts)} longest transcripts would give such ({name}: {count:,}). "
                f"Set it to {most}, or trainer.max_length to {limit}."
            )


def _characters(transcript: Transcript, start: int = 0, end: int | None = None) -> int:
    return sum(len(text) for exchange in transcript.exchanges[start:end] for text in exchange)
