"""Can a judge be trusted? Its agreement with people, with itself, and with another judge."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tuneline.commands.agreement import Agreement, Answers, Interval, agreement
from tuneline.commands.labels import read_labels, refuse_unknown
from tuneline.commands.show import fetch_output
from tuneline.data.io import Closed, read_lines, read_record
from tuneline.data.judged import read_judged
from tuneline.data.rubric import Rubric, load_rubric
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement, Verdict
from tuneline.engine.context import read_secret
from tuneline.engine.inputs import resolve_inputs
from tuneline.engine.runfile import read_run_file
from tuneline.engine.runner import new_job
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.canary import answers_of, rejudge, shuffled, some_of
from tuneline.judge.card import JudgeCard, JudgeCards
from tuneline.judge.judging import load_judge
from tuneline.judge.panel import Judge, combine, members
from tuneline.judge.recorded.judge import read_recorded
from tuneline.parsing.problems import printable
from tuneline.stage import Usage, installed_stages
from tuneline.store.base import Store

Kind = Literal["labels", "retest", "order", "second judge", "second judge, labels", "stricter, labels"]


class Figures(Closed):
    """One comparison."""

    kind: Kind
    """Answers compared with labels · asked once more · asked in another order · another judge · that one with labels ·
    the stricter answer of both with labels."""
    rows: list[Agreement]
    """By criterion, and `all` at the end."""


class JudgeCheck(Closed):
    """What `tuneline judge-check` found."""

    judges: list[JudgeCard]
    """Whose answers were compared; empty for a file of answers that does not say."""
    second: JudgeCard | None = None
    transcripts: int
    labelled: int
    """Transcripts among them with an answer by people."""
    unmatched: tuple[str, ...] = ()
    """Ids of labels that name no judged transcript."""
    figures: list[Figures]
    spent: Usage = Usage()
    """Of asking once more."""


class Questions(NamedTuple):
    """What to ask beside comparing: how many transcripts once more, how many in another order, and another judge."""

    retest: int = 0
    order: int = 0
    second: Path | None = None
    sample: int = 20
    """Transcripts that the second judge is asked about."""


class _Judged(NamedTuple):
    answers: Answers
    cards: list[JudgeCard]
    asking: _Asking | None


class _Asking(NamedTuple):
    """Who can be asked once more (of two judges the first), and about what."""

    judge: Judge
    rubric: Rubric
    transcripts: list[Transcript]


def judge_check(what: str, store: Store, labels: Path | None, questions: Questions) -> JudgeCheck:
    """Compare the answers of a run, of a run file's run, or in a file. Raises UserError for whatever is wrong."""
    judged = _judged(what, store)
    people = read_labels(labels) if labels else {}
    if people:
        refuse_unknown(people, judged.answers)
    criteria = list(dict.fromkeys(name for row in judged.answers.values() for name in row))
    figures = [Figures(kind="labels", rows=agreement(judged.answers, people, criteria))] if people else []
    second, spent = None, Usage()
    if asks := (questions.retest or questions.order or questions.second):
        if judged.asking is None:
            raise UserError(f"{what}: to ask a judge once more, name the run file, which says whom and about what.")
        asked, second, spent = _ask(judged, judged.asking, people, questions, criteria)
        figures += asked
    if not people and not asks:
        raise UserError("Nothing to compare with: give --labels, --retest, --order or --second.")
    unmatched = tuple(sorted(people.keys() - judged.answers.keys()))
    return JudgeCheck(
        judges=judged.cards, second=second, transcripts=len(judged.answers),
        labelled=len(people.keys() & judged.answers.keys()), unmatched=unmatched, figures=figures,
        spent=spent,
    )  # fmt: skip


def _judged(what: str, store: Store) -> _Judged:
    path = Path(what)
    if path.suffix in (".yaml", ".yml"):
        return _of_run_file(path, store)
    if path.suffix in (".json", ".jsonl") or path.is_file():
        rows = read_recorded(path)
        return _Judged({n: dict(r.answers) for n, r in rows.items() if r.status == "scored"}, [], None)
    with tempfile.TemporaryDirectory(prefix="tuneline-") as folder:
        return _of_run(what, store, Path(folder))


def _of_run(run: str, store: Store, folder: Path) -> _Judged:
    verdicts = read_lines(fetch_output(store, run, "assessor/verdicts", folder), Verdict)
    cards = read_record(fetch_output(store, run, "assessor/judges", folder), JudgeCards).judges
    return _Judged({v.id: dict(v.answers) for v in verdicts if v.status == "scored"}, cards, None)


def _of_run_file(path: Path, store: Store) -> _Judged:
    run_file = read_run_file(path, installed_stages())
    with new_job(run_file, run_file.step("assessor"), store) as job:
        inputs = resolve_inputs(job)
        rubric = load_rubric(inputs["rubric"].path)
        answers = inputs["answers"].path if "answers" in inputs else None
        judge = load_judge(inputs["judge"].path, read_secret, answers)
        first = next(iter(members(judge, rubric).values()))
        job.scratch.mkdir(parents=True, exist_ok=True)
        judged = _of_run(run_file.run, store, job.scratch)
        transcripts = list(read_judged(fetch_output(store, run_file.run, "assessor/transcripts", job.scratch)))
    return judged._replace(asking=_Asking(first, rubric, transcripts))


def _ask(
    judged: _Judged, asking: _Asking, people: Answers, questions: Questions, criteria: Sequence[str]
) -> tuple[list[Figures], JudgeCard | None, Usage]:
    judge, rubric, transcripts = asking
    scored = [t for t in transcripts if t.id in judged.answers]
    figures, spent, card = [], Usage(), None

    def compare(kind: Kind, theirs: Mapping[str, Judgement]) -> None:
        nonlocal spent
        spent = sum((judgement.usage for judgement in theirs.values()), start=spent)
        figures.append(Figures(kind=kind, rows=agreement(answers_of(theirs), judged.answers, criteria)))

    if questions.retest:
        other = judge.with_another_seed() if isinstance(judge, LlmJudge) else judge
        compare("retest", rejudge(other, rubric, some_of(scored, questions.retest)))
    if questions.order:
        compare("order", rejudge(judge, shuffled(rubric), some_of(scored, questions.order)))
    if questions.second:
        [another] = members(
            load_judge(questions.second, read_secret), rubric.model_copy(update={"judges": None})
        ).values()
        card = another.card(rubric.asked())
        labelled = [t for t in scored if t.id in people]
        found = rejudge(another, rubric, labelled or some_of(scored, questions.sample))
        compare("second judge", found)
        theirs = answers_of(found)
        if labelled:
            figures.append(Figures(kind="second judge, labels", rows=agreement(theirs, people, criteria)))
            both = {name: combine(judged.answers[name], theirs[name]) for name in theirs}
            figures.append(Figures(kind="stricter, labels", rows=agreement(both, people, criteria)))
    return figures, card, spent


_TITLES: Mapping[Kind, str] = {
    "labels": "Agreement with people",
    "retest": "Asked once more, with another seed",
    "order": "Asked with the criteria in another order",
    "second judge": "The second judge and the first",
    "second judge, labels": "The second judge and people",
    "stricter, labels": "The stricter answer of both and people",
}


def check_lines(found: JudgeCheck) -> Iterator[str]:
    """Yield a page about a check."""
    return map(printable, _lines(found))


def _lines(found: JudgeCheck) -> Iterator[str]:
    for card in found.judges:
        yield f"Judge: {card.label}, family {card.family}"
    if found.second:
        yield f"Second judge: {found.second.label}, family {found.second.family}"
    yield f"{found.transcripts} judged transcripts, {found.labelled} of them with labels"
    if found.unmatched:
        shown = ", ".join(found.unmatched[:5]) + (" …" if len(found.unmatched) > 5 else "")
        yield f"{len(found.unmatched)} of the labelled ids are none of these, or have no score: {shown}"
    if any(row.answers and row.kappa is None for figures in found.figures for row in figures.rows):
        yield "Kappa is - where one side gave one answer only: that agreement cannot be told from chance."
    for figures in found.figures:
        yield ""
        yield _TITLES[figures.kind]
        yield f"  {'criterion':20} {'n':>5}  {'equal':20} {'weighted kappa':24} {'stricter':>8} {'milder':>6}"
        for row in filter(lambda row: row.answers, figures.rows):
            equal = _figure(row.accuracy, row.accuracy_interval, percent=True)
            kappa = _figure(row.kappa, row.kappa_interval, percent=False)
            yield f"  {row.criterion:20} {row.transcripts:>5}  {equal:20} {kappa:24} {row.stricter:>8} {row.milder:>6}"
    if found.spent.calls:
        yield ""
        yield f"{found.spent.calls} calls were made, cost {found.spent.usd}"


def _figure(value: float | None, interval: Interval | None, *, percent: bool) -> str:
    if value is None:
        return "-"

    def write(number: float) -> str:
        return f"{number:.0%}" if percent else f"{number:.2f}"

    return write(value) + (f" ({write(interval.low)} to {write(interval.high)})" if interval else "")
