"""Who judges: one judge, or two whose answers become one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from tuneline.data.rubric import SCORE_DIGITS, Rubric, Score, score
from tuneline.data.text.rules import Answer
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import NO_SCORE, Ask, Opinion, Verdict
from tuneline.errors import UserError
from tuneline.judge.card import JudgeCard
from tuneline.stage import Account, Json

SCALE: tuple[Answer, ...] = ("NO", "NA", "YES")
"""From the strictest answer to the mildest."""


class Judge(Protocol):
    """Who judges. The rubrics it is given are what a judge is asked: without the criteria that have a `rule`."""

    @property
    def label(self) -> str:
        """Name for reports."""

    @property
    def offline(self) -> bool:
        """Whether it is for demonstration only: words are counted, nothing is understood."""

    def key(self, transcript: Transcript) -> str:
        """Return what identifies a transcript for this judge."""

    def scope(self, rubric: Rubric) -> tuple[str, ...]:
        """Return what an answer depends on apart from the transcript, without anything that only changes the pace."""

    def card(self, rubric: Rubric) -> JudgeCard:
        """Return what has to be known about it, of the questions of `rubric`."""

    def check(self, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
        """Raise UserError when these cannot be judged, before anything is paid."""

    def open(
        self, rubric: Rubric, *, concurrency: int, timeout_s: float, account: Account | None = None
    ) -> AbstractContextManager[Ask]:
        """Get ready to judge from `concurrency` threads; when it closes, no thread waits for an answer any more."""


class Panel:
    """Two or more judges by name, of whom a rubric names two."""

    def __init__(self, judges: Mapping[str, Judge]) -> None:
        self._judges = judges

    @property
    def label(self) -> str:
        return " and ".join(judge.label for judge in self._judges.values())

    @property
    def offline(self) -> bool:
        return any(judge.offline for judge in self._judges.values())

    def chosen(self, rubric: Rubric) -> dict[str, Judge]:
        """Return the two that a rubric asks for. Raises UserError when it asks for none, or for others."""
        known = ", ".join(self._judges)
        if rubric.judges is None:
            raise UserError(f"judge: there are {known}; the rubric must say which two it asks: `judges: [a, b]`")
        if missing := [name for name in rubric.judges if name not in self._judges]:
            raise UserError(f"judge: the rubric asks `{missing[0]}`, and there are {known}")
        if len(set(rubric.judges)) < len(rubric.judges):
            raise UserError(f"rubric: judges: `{rubric.judges[0]}` stands there twice")
        return {name: self._judges[name] for name in rubric.judges}


Judges: TypeAlias = Judge | Panel


def members(judge: Judges, rubric: Rubric) -> dict[str, Judge]:
    """Return who is asked. Raises UserError when the rubric asks for two and there is one, or the other way round."""
    if isinstance(judge, Panel):
        return judge.chosen(rubric)
    if rubric.judges:
        asked = ", ".join(rubric.judges)
        raise UserError(f"judge: the rubric asks the judges {asked}: name both under `judges:` in place of one")
    return {"": judge}


def check_judges(judge: Judges, rubric: Rubric, transcripts: Sequence[Transcript]) -> None:
    """Raise UserError when those that a rubric asks cannot judge these, or are not there."""
    for one in members(judge, rubric).values():
        one.check(rubric.asked(), transcripts)


def combine(ours: Mapping[str, Answer], theirs: Mapping[str, Answer]) -> dict[str, Answer]:
    """Return the stricter of two answers to each criterion that both answered: NO before NA before YES."""
    return {name: min(ours[name], theirs[name], key=SCALE.index) for name in ours if name in theirs}


def both(rubric: Rubric, transcript: Transcript, verdicts: Mapping[str, Verdict]) -> Verdict:
    """Make one verdict of two, which are kept in it. Where one judge gave no score, there is none.

    A gate fails when either judge says so. With the rule `mean` the scores are means, the answers the stricter ones.
    """
    first, second = verdicts.values()
    opinions = {name: _opinion(verdict) for name, verdict in verdicts.items()}
    unscored = next((verdict for verdict in (first, second) if verdict.status != "scored"), None)
    label, usage = f"{first.judge} and {second.judge}", first.usage + second.usage
    if unscored is not None:
        return unscored.model_copy(update={"judge": label, "usage": usage, "opinions": opinions, **NOTHING})
    answers = combine(first.answers, second.answers)
    found = score(rubric, answers, len(transcript.exchanges))
    if rubric.judges_rule == "mean":
        found = _mean(rubric, found, first, second)
    reasons = {
        name: source.reasons[name]
        for name, answer in answers.items()
        for source in [first if first.answers[name] == answer else second]
        if name in source.reasons
    }
    return first.model_copy(update={
        **found._asdict(), "answers": answers, "reasons": reasons, "judge": label, "usage": usage, "opinions": opinions,
    })  # fmt: skip


NOTHING: dict[str, object] = {"answers": {}, "reasons": {}, **NO_SCORE}


def _opinion(verdict: Verdict) -> Opinion:
    return Opinion.model_validate(verdict.model_dump(include=set(Opinion.model_fields)))


def _mean(rubric: Rubric, stricter: Score, first: Verdict, second: Verdict) -> Score:
    means = {name: (share + second.category_scores[name]) / 2 for name, share in first.category_scores.items()}
    total = round(((first.score or 0.0) + (second.score or 0.0)) / 2, SCORE_DIGITS)
    passed = total >= rubric.pass_threshold and not stricter.failed_gates
    return Score(total, passed, {n: round(mean, SCORE_DIGITS) for n, mean in means.items()}, stricter.failed_gates)


def disagreement(verdicts: Iterable[Verdict]) -> dict[str, Json]:
    """Count where two judges differ: answers, and transcripts that only one lets pass. Empty for one judge."""
    pairs = [list(verdict.opinions.values()) for verdict in verdicts if verdict.opinions]
    pairs = [pair for pair in pairs if all(opinion.status == "scored" for opinion in pair)]
    if not pairs:
        return {}
    answers = [(a.answers[name], b.answers[name]) for a, b in pairs for name in a.answers if name in b.answers]
    return {
        "answers": len(answers),
        "differ": sum(ours != theirs for ours, theirs in answers),
        "transcripts": len(pairs),
        "passed_by_one": sum(a.passed != b.passed for a, b in pairs),
    }
