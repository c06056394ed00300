"""Two conversations of one persona next to each other, exchange by exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.transcripts import Exchange
from tuneline_evaluator.comparison.figures import Comparison, PairedExample, PersonaRow
from tuneline_evaluator.comparison.numbers import points

_ORDER = ("median", "largest gain", "largest loss", "win", "loss", "flip")
_ENDED = {
    "empty": "ended early: the model gave an answer without text",
    "overflow": "ended early: the next answer would not fit the context",
    "broken": "ended early: the server failed",
}


class SideBySide(NamedTuple):
    """One persona with both models."""

    persona: str
    name: str
    why: str
    """Why this persona is shown."""
    difference: float
    scores: str
    """Both scores, where one conversation per arm makes the persona's mean; else empty."""
    turns: list[tuple[Exchange | None, Exchange | None]]
    """Exchanges with base and finetuned; None where a conversation was shorter."""
    remarks: list[str]
    """How a conversation ended that did not reach its last exchange."""
    unit: str
    """In what the difference is."""
    reasons: list[tuple[str, str]]
    """Why the judge prefers what it does, by what was shown first."""


def side_by_side(comparison: Comparison, conversations: Sequence[Conversation]) -> list[SideBySide]:
    """Return the chosen pairs, the median first: it is the one that speaks for the rest."""
    by_id = {conversation.id: conversation for conversation in conversations}
    rows = {row.id: row for row in comparison.personas}
    chosen = sorted(comparison.examples, key=lambda example: _ORDER.index(example.label))
    return [_pair(example, rows[example.persona], by_id, comparison.settings.trials) for example in chosen]


def _pair(example: PairedExample, row: PersonaRow, by_id: Mapping[str, Conversation], trials: int) -> SideBySide:
    base, finetuned = by_id[example.base_id], by_id[example.finetuned_id]
    why = _why(example)
    return SideBySide(
        persona=row.id,
        name=row.name,
        why=why if trials == 1 else f"{why} (conversation {example.trial + 1} of {trials})",
        difference=example.difference,
        scores=f"{points(row.base_mean)} → {points(row.finetuned_mean)}" if trials == 1 else "",
        turns=list(zip_longest(base.exchanges, finetuned.exchanges)),
        unit="points of win rate from one half" if example.label in ("win", "loss", "flip") else "points",
        reasons=[
            (("Base as A", "Fine-tuned as A")[place % 2], reason)
            for place, reason in enumerate(example.reasons)
            if reason
        ],
        remarks=[
            f"The conversation with the {name} {_ENDED[conversation.status]}."
            for name, conversation in (("base", base), ("fine-tuned model", finetuned))
            if conversation.status in _ENDED
        ],
    )


def _why(example: PairedExample) -> str:
    """Say the rule by which the pair was chosen; the smallest gain must not be called a loss."""
    match example.label:
        case "median":
            return "the middle of all differences"
        case "largest gain":
            return "the largest gain" if example.difference > 0 else "the best difference"
        case "largest loss":
            return "the largest loss" if example.difference < 0 else "the smallest gain"
        case "win":
            return "the fine-tuned model’s answer is preferred in both orders"
        case "loss":
            return "the base’s answer is preferred in both orders"
        case "flip":
            return "the judge preferred what it was shown in one place, whichever that was"
