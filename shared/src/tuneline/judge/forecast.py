"""What it will take to have transcripts judged, before the judge is asked."""

from __future__ import annotations

from collections.abc import Sequence

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement
from tuneline.judge.by_model import LlmJudge, models_among
from tuneline.judge.panel import Judges
from tuneline.judge.prompt import judge_messages
from tuneline.judge.work import Work
from tuneline.llm.forecast import MEASURED, Expected, forecast
from tuneline.llm.prices import require_price
from tuneline.llm.token_counts import count_tokens
from tuneline.stage import Forecast, Plans, Usage

REASON_TOKENS, ANSWER_TOKENS = 26, 14
"""Per criterion, if no answers can be measured: one or two sentences, and what the form takes around them."""


def forecast_judging(
    judge: LlmJudge, rubric: Rubric, transcripts: Sequence[Transcript], plans: Plans, concurrency: int
) -> Forecast:
    """Return what judging takes. What the journal holds is what it was; it also shows how long the judge's answers are,
    and how its tokens compare with ours."""
    asked = rubric.asked()
    keyed = {judge.key(transcript): transcript for transcript in transcripts}
    work = Work(plans.journal(*judge.scope(asked)), keyed, 1.0, None, Judgement)
    held = sum((judgement.usage for judgement in work.found.values()), start=Usage())
    measured = held if held.calls >= MEASURED else Usage()
    counted = sum(prompt_tokens(asked, keyed[key]) for key in work.found) if measured.calls else 0
    expected = Expected(
        inputs=[prompt_tokens(asked, keyed[key]) for key in work.todo],
        output=measured.output_tokens / measured.calls if measured.calls else answer_tokens(asked),
        input_ratio=measured.input_tokens / counted if counted else 1.0,
        cached_share=measured.cached_tokens / measured.input_tokens if measured.input_tokens else 0.0,
    )
    plans.note(
        f"{len(work.found):,} of {len(keyed):,} judgements are in the journal; an answer is taken to have "
        f"{expected.output:.0f} tokens, {'as those have' if measured.calls else f'{REASON_TOKENS} for each reason'}"
    )
    return forecast(judge.config, "judge", judge.label, expected, held, concurrency)


def require_prices(judge: Judges, rubric: Rubric) -> None:
    """Raise UserError if nobody knows what one of the judges costs, so that no limit could be kept."""
    for model in models_among(judge, rubric):
        require_price(model.config)


def prompt_tokens(rubric: Rubric, transcript: Transcript) -> int:
    """Return about how many tokens a judge is sent for one transcript."""
    return sum(count_tokens(message["content"]) for message in judge_messages(rubric, transcript, again=False))


def answer_tokens(rubric: Rubric) -> float:
    """Return about how many tokens a judge's answer has."""
    return len(rubric.criteria) * (REASON_TOKENS + ANSWER_TOKENS)
