"""Blind judging: ids and order of what the judge sees say nothing about the arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.judge.judging import Judge, judge_all
from tuneline.stage import Context, Cost
from tuneline_evaluator.comparison.scores import Judged
from tuneline_evaluator.conversations.conversation import Conversation


class JudgedBlind(NamedTuple):
    """Every conversation with its verdict, and what was done just now to get them."""

    items: list[Judged]
    judged_now: int
    """Conversations that no earlier attempt or run had judged."""
    cost: Cost


def judge_blind(
    judge: Judge,
    rubric: Rubric,
    conversations: Sequence[Conversation],
    context: Context,
    *,
    concurrency: int,
    timeout_s: float,
) -> JudgedBlind:
    """Judge the complete conversations of both arms with the assessor's judge; the others keep their own status."""
    blind = sorted((transcript_of(c) for c in conversations if c.status == "complete"), key=lambda t: t.id)
    verdicts = judge_all(judge, rubric, blind, context, concurrency=concurrency, timeout_s=timeout_s)
    by_id = {verdict.id: verdict for verdict in verdicts}
    items = [Judged(conversation, by_id.get(conversation.judged_id)) for conversation in conversations]
    return JudgedBlind(items, verdicts.judged_now, verdicts.cost)


def transcript_of(conversation: Conversation) -> Transcript:
    """Return what the judge sees: the exchanges, and neither arm, persona nor system prompt."""
    return Transcript(conversation.judged_id, conversation.exchanges)
