"""The page of conversations beside the report: every one of every arm, with what the judge said about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.rubric import Rubric
from tuneline.data.text.talks import (
    MOST_TALKS,
    Line,
    Question,
    Talk,
    TalkPage,
    anchor,
    findings_of,
    out_of_role,
    place,
)
from tuneline.data.verdicts import Verdict
from tuneline_evaluator.comparison.figures import Comparison, PersonaRow
from tuneline_evaluator.comparison.preferred import Met
from tuneline_evaluator.comparison.scores import JudgedConversation, seen_in

REPORT = "report.html"
PAGE = "conversations.html"
MOST_ROWS = 400
"""Personas or prompts in the report's table; of more, those with the largest gains and losses."""

_Pairs = Mapping[tuple[str, int], Met]


class _Around(NamedTuple):
    """What is known beside a conversation itself."""

    rows: Mapping[str, PersonaRow]
    trials: int
    single: bool
    told: set[str]
    """Personas that the report has a row of."""
    met: _Pairs
    left_out: frozenset[str]
    """`<persona>/<trial>` of those that are in no figure."""
    answers: Mapping[tuple[str, int], Mapping[str, Mapping[str, str]]]
    """By persona and trial, arm and criterion."""


def talk_page(
    comparison: Comparison, items: Sequence[JudgedConversation], met: Sequence[Met] | None, rubric: Rubric
) -> TalkPage:
    """Return every conversation, in the order of the report's rows; of very many the ends, where most can be seen."""
    rows = sorted(comparison.personas, key=largest_gain_first)
    order = {row.id: place for place, row in enumerate(rows)}
    arms = {name: place for place, name in enumerate(dict.fromkeys(item.conversation.arm for item in items))}
    items = sorted(
        items, key=lambda one: (order[one.conversation.persona], one.conversation.trial, arms[one.conversation.arm])
    )
    shown = items if len(items) <= MOST_TALKS else [*items[: MOST_TALKS // 2], *items[-MOST_TALKS // 2 :]]
    single = comparison.score.unit == "prompt"
    around = _Around(
        rows={row.id: row for row in rows}, trials=comparison.settings.trials, single=single,
        told={row.id for row in shown_rows(rows)}, answers=_answers(items),
        left_out=frozenset(comparison.roles.left_out if comparison.roles else ()),
        met={(one.base.persona, one.base.trial): one for one in met or []},
    )  # fmt: skip
    kept = {item.conversation.persona for item in shown}
    return TalkPage(
        title="Every answer, and what the judge said" if single else "Every conversation, and what the judge said",
        intro=f"Judge: {comparison.judge}. Nobody told it which model answered.",
        talks=[_talk(item, around) for item in shown],
        questions=list(_questions(comparison, rubric)),
        groups={row.id: row.name for row in rows if row.id in kept},
        unit=comparison.score.unit.capitalize(), back=REPORT, hidden=len(items) - len(shown),
    )  # fmt: skip


LEADS: Mapping[str, Mapping[str, str]] = {
    "Scored": {"status": "scored"}, "Passed the rubric, of those scored": {"status": "passed"},
    "answers that repeat themselves": {"flag": "loops"}, "answers cut at the limit": {"flag": "cut"},
    "answers in another language than the user’s": {"flag": "language"},
    "refused or blocked by the judge": {"flag": "refused"}, "not readable as a verdict": {"status": "unparsed"},
    "ended by an empty answer": {"flag": "empty"}, "too long for the context": {"status": "overflow"},
    "broken by the server": {"status": "broken"},
}  # fmt: skip
"""Which conversations a row of the report counts, by its name; a row that is not here leads to all."""


def leads(name: str) -> str:
    """Return the address of the conversations that a row counts."""
    return place(PAGE, **LEADS.get(name, {}))


def largest_gain_first(row: PersonaRow) -> tuple[bool, float, str]:
    """Sort personas as every table does; those without a difference come last."""
    return row.difference is None, -(row.difference or 0.0), row.id


def shown_rows(rows: Sequence[PersonaRow]) -> Sequence[PersonaRow]:
    """Return the rows that the report has place for."""
    return rows if len(rows) <= MOST_ROWS else [*rows[: MOST_ROWS // 2], *rows[-MOST_ROWS // 2 :]]


def _answers(items: Sequence[JudgedConversation]) -> dict[tuple[str, int], dict[str, Mapping[str, str]]]:
    found: dict[tuple[str, int], dict[str, Mapping[str, str]]] = defaultdict(dict)
    for talk, verdict in items:
        if verdict is not None and verdict.answers:
            found[talk.persona, talk.trial][talk.arm] = verdict.answers
    return found


def _talk(item: JudgedConversation, around: _Around) -> Talk:
    talk, verdict = item
    row, pair = around.rows[talk.persona], around.met.get((talk.persona, talk.trial))
    lines = list(_lines(talk, row.name, around.single))
    counts = f"{talk.persona}/{talk.trial}" not in around.left_out
    left_out = [] if counts else [("In no figure", "the simulated user left its role with one of the models")]
    flags = dict.fromkeys(flag for line in lines for flag in line.flags)
    status = verdict.status if verdict else talk.status
    lost = ["empty"] * (talk.status == "empty") + ["refused"] * (status in ("refused", "blocked"))
    trial = f" · {talk.trial + 1} of {around.trials}" if around.trials > 1 else ""
    return Talk(
        id=talk.id, title=row.name + trial, group=talk.persona, arm=talk.arm, status=status,
        score=verdict.score if verdict else None, passed=bool(verdict and verdict.passed),
        lines=lines, findings=findings_of(verdict), flags=(*flags, *lost),
        preferred=pair.ending if pair and talk.arm in ("base", "finetuned") else "",
        split=tuple(_split(talk, around)),
        notes=[*left_out, *_notes(lines, verdict, around.single), *_preference(pair, talk)],
        back=f"{REPORT}#{anchor('persona', talk.persona) if talk.persona in around.told else 'evidence'}",
    )  # fmt: skip


def _lines(talk: Conversation, name: str, single: bool) -> Iterator[Line]:
    model = {"base": "Base", "finetuned": "Fine-tuned"}.get(talk.arm, talk.arm)
    if talk.messages and talk.messages[0].role == "system":
        yield Line("System prompt", "system", talk.messages[0].content)
    exchanges = talk.exchanges
    for said, seen, fact in zip_longest(exchanges, seen_in(exchanges), talk.answers[: len(exchanges)]):
        cut = ("cut",) if fact is not None and fact.finish_reason == "length" else ()
        away = () if single or not out_of_role(said.user) else ("role",)
        yield Line("Prompt" if single else name, "user", said.user, away)
        yield Line(model, "assistant", said.assistant, (*seen, *cut))


def _split(talk: Conversation, around: _Around) -> Iterator[str]:
    """Yield the criteria that another model's conversation with the same persona is answered differently in."""
    arms = around.answers.get((talk.persona, talk.trial), {})
    others = [answers for arm, answers in arms.items() if (arm == "base") != (talk.arm == "base")]
    for name, answer in arms.get(talk.arm, {}).items():
        if any(other.get(name, answer) != answer for other in others):
            yield name


def _notes(lines: Sequence[Line], verdict: Verdict | None, single: bool) -> Iterator[tuple[str, str]]:
    if verdict is None:
        yield "Not judged", "the conversation did not reach its end"
    elif verdict.status != "scored":
        yield "Not scored", verdict.detail or verdict.status.replace("_", " ")
    if not single:
        away = [str(n) for n, line in enumerate((line for line in lines if line.role == "user"), 1) if line.flags]
        kept = "stayed in its role, by all that code can see"
        yield "Simulated user", f"left its role in message {', '.join(away)}" if away else kept


def _preference(pair: Met | None, talk: Conversation) -> Iterator[tuple[str, str]]:
    if pair is None or talk.arm not in ("base", "finetuned"):
        return
    for both in pair.choices:
        for choice, shown, sides in zip(both, ("base", "fine-tuned"), _SIDES, strict=True):
            chosen = sides[choice.answer] if choice.answer else choice.status.replace("_", " ")
            yield f"Asked with the {shown} model first", f"{chosen}. {choice.reason}"


_SIDES = (
    {"A": "Prefers the base", "B": "Prefers the fine-tuned model", "TIE": "No difference"},
    {"A": "Prefers the fine-tuned model", "B": "Prefers the base", "TIE": "No difference"},
)


def _questions(comparison: Comparison, rubric: Rubric) -> Iterator[Question]:
    known = {name: kind for kind, rows in (("criterion", comparison.criteria), ("gate", comparison.safety)) for name in
             (row.id for row in rows)}  # fmt: skip
    groups = rubric.groups
    for one in rubric.criteria:
        back = f"{REPORT}#{anchor(known[one.id], one.id)}" if one.id in known else ""
        yield Question(one.id, one.question, groups[one.id], back)
