"""What can be known before the judge is asked anything."""

from __future__ import annotations

from tuneline.data.judged import write_judged
from tuneline.data.pii.finder import PiiFinder
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.transcripts import Exchange, Transcript
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge, models_among
from tuneline.judge.forecast import require_prices
from tuneline.judge.judging import load_judge
from tuneline.judge.panel import check_judges
from tuneline.llm.config import Secret
from tuneline.stage import Checks
from tuneline_assessor.assess import read_given
from tuneline_assessor.stage import AssessorParams

QUESTION = Transcript(
    "check", (Exchange("The lamp does not light. What can I do?", "Please check the plug first. Is it in the socket?"),)
)
"""What a judge is asked when it may be: nobody's conversation."""


def check_given(params: AssessorParams, checks: Checks) -> None:
    """Read rubric, judge and transcripts, and let the judge say whether it can judge them."""
    if params.pii != "off" and checks.work:
        with checks.about("pii"):
            PiiFinder(params.pii_regions, params.pii_model)
    rubric = checks.read("rubric", load_rubric)
    judge = checks.read("judge", load_judge, checks.secret, checks.inputs.get("answers"))
    read = checks.read("transcripts", read_given, params)
    if read:
        checks.note(
            f"{len(read.transcripts):,} transcripts" + f", {len(read.rejected):,} left out" * bool(read.rejected)
        )
        write_judged(checks.preview("transcripts"), read.transcripts)
    if rubric and judge and read:
        with checks.about("judge"):
            check_judges(judge, rubric, read.transcripts)
            if checks.max_usd is not None:
                require_prices(judge, rubric)
    if rubric and judge and checks.online:
        with checks.about("judge"):
            for model in models_among(judge, rubric):
                checks.note(_answer(model, checks.secret, rubric, params.timeout_s))


def _answer(asked: LlmJudge, secret: Secret, rubric: Rubric, timeout_s: float) -> str:
    """Ask the judge about one conversation. Raises UserError unless it answers as the rubric wants it."""
    from tuneline.llm.calls import ONE_QUESTION, QUESTION_SECONDS

    judge = LlmJudge(asked.config, secret, ONE_QUESTION)
    with judge.open(rubric, concurrency=1, timeout_s=min(timeout_s, QUESTION_SECONDS)) as ask:
        judgement = ask(QUESTION, False)
    if judgement.status != "scored":
        raise UserError(
            f"{judge.label} was asked one question, and its answer is {judgement.status}: {judgement.detail}"
        )
    return f"the judge {judge.label} answers as the rubric wants it"
