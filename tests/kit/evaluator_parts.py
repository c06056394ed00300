"""Personas, conversations and verdicts for tests of the evaluator, and the facts of two arms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuneline.data.conversations import AnswerFacts, Arm, Conversation, Said
from tuneline.data.personas import Persona
from tuneline.data.rubric import Rubric, score
from tuneline.data.serving import SamplerParams
from tuneline.data.text.rules import Answer as YesOrNo
from tuneline.data.verdicts import Status, Verdict
from tuneline.stage import Usage
from tuneline_evaluator.comparison.scores import JudgedConversation
from tuneline_evaluator.stage import EvaluatorParams

SETTINGS = EvaluatorParams(turns=2, sampler=SamplerParams(max_answer_tokens=64))


def persona_row(number: int, **changed: object) -> dict[str, Any]:
    """A persona as it stands in a persona file."""
    row: dict[str, Any] = {
        "id": f"person-{number:02}",
        "name": f"Person {number}",
        "age_range": "25-34",
        "traits": ["curious", "brief"],
        "communication_style": "Short sentences.",
        "topic_seeds": [{"category": "garden", "subtopic": "tomato_plants", "complexity": "simple"}],
        "trajectory": "Open from the start.",
        "script": [f"Hello, this is number {number}.", "How many tomatoes can I expect?"],
    }
    return {k: v for k, v in {**row, **changed}.items() if v is not None}


def personas(count: int) -> list[Persona]:
    """So many personas."""
    return [Persona.model_validate(persona_row(number)) for number in range(count)]


def talked(
    persona: str,
    arm: Arm,
    rubric: Rubric,
    answers: Mapping[str, YesOrNo] | None,
    *,
    trial: int = 0,
    status: Status = "scored",
    ended: str = "complete",
    asked: str = "Hello.",
    answered: str = "Good day.",
) -> JudgedConversation:
    """A conversation and what the judge said; without `answers` nobody judged it."""
    conversation = Conversation.model_validate(
        {
            "id": f"{persona}/{trial}/{arm}", "persona": persona, "trial": trial, "arm": arm, "seed": 1,
            "status": ended,
            "messages": [Said(role="user", content=asked), Said(role="assistant", content=answered)],
            "answers": [AnswerFacts(finish_reason="stop", prompt_tokens=9, evaluated_tokens=9, answer_tokens=3)],
            "judged_id": f"{persona}-{trial}-{arm}",
        }
    )  # fmt: skip
    if ended != "complete":
        return JudgedConversation(conversation, None)
    given = dict(answers or {}) if status == "scored" else {}
    scored = score(rubric, given, exchanges=1) if status == "scored" else None
    verdict = Verdict(
        id=conversation.judged_id, sha256="0" * 64, status=status, answers=given, reasons={},
        category_scores=scored.category_scores if scored else {}, score=scored.score if scored else None,
        passed=scored.passed if scored else False, failed_gates=scored.failed_gates if scored else [],
        judge="scripted", usage=Usage(),
    )  # fmt: skip
    return JudgedConversation(conversation, verdict)


def answers(rubric: Rubric, *no: str, na: Sequence[str] = ()) -> dict[str, YesOrNo]:
    """YES to everything but these."""
    return {c.id: "NO" if c.id in no else "NA" if c.id in na else "YES" for c in rubric.criteria}


def write_info(path: Path, file: str, **changed: object) -> Path:
    """Write what the converter says about a file."""
    facts: dict[str, object] = {
        "name": "Tiny", "file": file, "file_type": "F16", "architecture": "gemma2", "parameters": 3_423_488,
        "sizes": {}, "template_sha256": "ab" * 32, "tokenizer_sha256": "cd" * 32, "converter": "ef" * 32,
        "llama_cpp": "0.5.0", "base_model": "tiny-base", "metadata": {}, "checks": [],
    }  # fmt: skip
    path.write_text(json.dumps({**facts, **changed}))
    return path
