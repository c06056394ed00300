"""What can be known before the judge is asked anything."""

from __future__ import annotations

from tuneline.data.judged import write_judged
from tuneline.data.pii.finder import PiiFinder
from tuneline.data.rubric import load_rubric
from tuneline.judge.by_model import ask_once, models_among
from tuneline.judge.forecast import require_prices
from tuneline.judge.judging import load_judge
from tuneline.judge.panel import check_judges
from tuneline.stage import Checks
from tuneline_assessor.assess import read_given
from tuneline_assessor.stage import AssessorParams


def check_given(params: AssessorParams, checks: Checks) -> None:
    """Read rubric, judge and transcripts, and let the judge say whether it can judge them."""
    if params.pii != "off" and checks.work:
        with checks.about("pii"):
            PiiFinder(params.pii_regions, params.pii_model)
    rubric = checks.read("rubric", load_rubric)
    answers = checks.inputs.get("answers")
    lost = answers is None and checks.origin("answers") is not None  # which is told already
    judge = None if lost else checks.read("judge", load_judge, checks.secret, answers)
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
                checks.note(ask_once(model, checks.secret, rubric, params.timeout_s))
