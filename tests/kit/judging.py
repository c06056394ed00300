"""Judging as a stage does it, with journals that stay in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.judge_parts import SHORT_RUBRIC, live
from kit.scripted_openai import Answer, Call, completion, judged
from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.judging import Judged, judge_all
from tuneline.judge.panel import Judges
from tuneline.llm.calls import Patience
from tuneline.llm.config import OpenAiConfig

HASTY = Patience(first_wait_s=0.01, longest_wait_s=0.05, streak_s=0.2)


def no_secret(name: str) -> str:
    raise UserError(f"{name} is not set")


def openai_judge(url: str, patience: Patience = HASTY, **settings: Any) -> LlmJudge:
    config = OpenAiConfig(provider="openai", model="m", base_url=url, input_usd=1, output_usd=1, **settings)
    return LlmJudge(config, no_secret, patience)


def judge_in(
    folder: Path, judge: Judges, transcripts: list[Transcript], rubric: Rubric = SHORT_RUBRIC, **settings: Any
) -> Judged:
    """Judge as a stage would, with the journals that earlier calls left in the folder's store."""
    with live(folder) as context:
        return judge_all(judge, rubric, transcripts, context, **{"concurrency": 4, "timeout_s": 60.0, **settings})


def perfect(call: Call) -> Answer:
    return completion(judged(call))
