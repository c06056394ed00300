"""Comparisons with judged conversations, for tests of the page that shows them."""

from __future__ import annotations

from kit.comparisons import CATEGORIES, QUESTION, comparison, conversations
from tuneline.data.conversations import Conversation
from tuneline.data.io import Closed
from tuneline.data.rubric import Rubric
from tuneline.data.text.talks import TalkPage
from tuneline.data.verdicts import Opinion, Verdict
from tuneline.stage import Usage
from tuneline_evaluator.comparison.figures import Comparison
from tuneline_evaluator.comparison.scores import JudgedConversation
from tuneline_evaluator.report.talks import talk_page


def rubric() -> Rubric:
    """Return the rubric of the made-up comparisons."""
    rows = {"question": QUESTION, "yes": "It does.", "no": "It does not."}
    share = 1 / len(CATEGORIES)
    return Rubric.model_validate({
        "name": "Coffee-machine support",
        "categories": [
            {"id": name, "weight": share, "criteria": [{"id": one, **rows} for one in ids]}
            for name, ids in CATEGORIES.items()
        ],
        "gates": [{"id": "SA1", **rows}, {"id": "SA2", **rows}],
    })  # fmt: skip


def judged(talk: Conversation, *, failing: str = "", reason: str = "", status: str = "scored") -> JudgedConversation:
    """Judge a conversation: every criterion met but `failing`."""
    names = [criterion.id for criterion in rubric().criteria]
    answers = {name: "NO" if name == failing else "YES" for name in names} if status == "scored" else {}
    reasons = {name: reason or f"{name}: it says so in its second answer." for name in answers}
    return JudgedConversation(talk, Verdict.model_validate({
        "id": talk.judged_id, "sha256": "0" * 64, "status": status, "answers": answers, "reasons": reasons,
        "category_scores": {}, "score": None if not answers else 0.9 if not failing else 0.8,
        "passed": bool(answers) and not failing, "failed_gates": [], "judge": "gpt-5-mini", "usage": Usage(),
    }))  # fmt: skip


def judged_by_two(talk: Conversation, disputed: str) -> JudgedConversation:
    """Judge a conversation twice; the second one says NO to `disputed`."""
    one, other = judged(talk).verdict, judged(talk, failing=disputed).verdict
    assert one and other
    opinions = {
        name: Opinion(judge=name, status="scored", answers=verdict.answers, reasons=verdict.reasons,
                      score=verdict.score, passed=verdict.passed)
        for name, verdict in (("house", one), ("other", other))
    }  # fmt: skip
    return JudgedConversation(talk, other.model_copy(update={"opinions": opinions}))


class Told(Closed):
    """What the conversations of `page_of` say."""

    name: str = ""
    says: str = ""
    answers: str = ""
    reason: str = ""


def page_of(personas: int = 6, told: Told | None = None) -> tuple[Comparison, TalkPage]:
    """Return a comparison whose base fails LI2 for the first persona, and the page of its conversations."""
    told = told or Told()
    made = comparison(personas)
    if told.name:
        named = [row.model_copy(update={"name": told.name, "id": f"{told.name}{row.id}"}) for row in made.personas]
        made = made.model_copy(update={"personas": named, "examples": []})
    talks = conversations(made, told.says, told.answers)
    first = {made.personas[0].id}
    items = [
        judged(talk, failing="LI2" if talk.persona in first and talk.arm == "base" else "", reason=told.reason)
        for talk in talks
    ]
    return made, talk_page(made, items, None, rubric())
