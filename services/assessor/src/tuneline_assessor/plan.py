"""What the judge will take."""

from __future__ import annotations

from collections.abc import Iterator

from tuneline.data.rubric import load_rubric
from tuneline.judge.by_model import models_among
from tuneline.judge.forecast import forecast_judging
from tuneline.judge.judging import load_judge
from tuneline.stage import Forecast, Plans
from tuneline_assessor.assess import read_given
from tuneline_assessor.personal_data import screen
from tuneline_assessor.stage import AssessorParams


def plan_judging(params: AssessorParams, plans: Plans) -> Iterator[Forecast]:
    """Count what the judge will be sent."""
    rubric = plans.read("rubric", load_rubric)
    judge = plans.read("judge", load_judge, plans.secret, plans.inputs.get("answers"))
    read = plans.read("transcripts", read_given, params)
    if rubric and judge and read:
        transcripts = screen(read, params, plans).transcripts
        for model in models_among(judge, rubric):
            yield forecast_judging(model, rubric, transcripts, plans, params.concurrency)
