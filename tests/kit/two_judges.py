"""Conversations that two judges judged, who differ where a test wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kit.evaluator_parts import answers, talked
from kit.judge_parts import RUBRIC
from tuneline.data.conversations import Arm
from tuneline.data.rubric import Rubric, score
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Status, Verdict
from tuneline.judge.panel import NOTHING, both
from tuneline_evaluator.comparison.scores import JudgedConversation

TWO_RUBRIC = Rubric.model_validate(RUBRIC | {"judges": ["mild", "strict"]})
ARMS: tuple[Arm, ...] = ("base", "finetuned")

Says = Callable[[int, Arm], Mapping[str, Answer] | Status]
"""What a judge answers about a persona's conversation with an arm, or why it gave no score."""


def judged_by_two(personas: int, mild: Says, strict: Says, rubric: Rubric = TWO_RUBRIC) -> list[JudgedConversation]:
    """Return a conversation of each persona with each arm, and what became of both judges' verdicts."""
    found = []
    for number in range(personas):
        for arm in ARMS:
            item = talked(f"person-{number:02}", arm, rubric, answers(rubric))
            assert item.verdict is not None
            two = {
                "mild": _verdict(item.verdict, mild(number, arm), rubric, "gpt-5-mini"),
                "strict": _verdict(item.verdict, strict(number, arm), rubric, "claude-haiku-4-5"),
            }
            transcript = Transcript(item.verdict.id, item.conversation.exchanges)
            found.append(JudgedConversation(item.conversation, both(rubric, transcript, two)))
    return found


def _verdict(like: Verdict, said: Mapping[str, Answer] | Status, rubric: Rubric, judge: str) -> Verdict:
    if isinstance(said, str):
        return like.model_copy(update={"status": said, "judge": judge, **NOTHING})
    return like.model_copy(update={"answers": dict(said), "judge": judge, **score(rubric, said, 1)._asdict()})
