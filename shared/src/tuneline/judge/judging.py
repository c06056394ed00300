"""Judges: who answers a rubric's questions about a transcript, and how all transcripts are judged exactly once.

Every answer that was paid goes into the journal before anything else uses it. Its scope is what an answer depends on
apart from the transcript, its key is the transcript's hash, its row is the answer without any arithmetic: a killed run
goes on where it was, next month's run pays for new transcripts only, and new weights or another threshold cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import Judgement, Verdict, to_verdict
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge
from tuneline.judge.canary import refuse_drift, rejudge, some_of
from tuneline.judge.card import JudgeCard
from tuneline.judge.heuristic import HeuristicConfig, HeuristicJudge
from tuneline.judge.panel import Judge, Judges, Panel, both, check_judges, members
from tuneline.judge.recorded.judge import RecordedConfig, RecordedJudge
from tuneline.judge.substance import Substance
from tuneline.judge.work import Answered, I, J, Work
from tuneline.llm.config import MODELS, ModelConfig, Secret, provider_in
from tuneline.llm.limits import ended
from tuneline.parsing.yaml import read_yaml
from tuneline.stage import Context, Cost, Spent, Usage

CONFIGS: Mapping[str, type[HeuristicConfig | RecordedConfig | ModelConfig]] = {
    "heuristic": HeuristicConfig, "recorded": RecordedConfig, **MODELS
}  # fmt: skip


JudgeConfig: TypeAlias = HeuristicConfig | RecordedConfig | ModelConfig


def read_judges(path: Path) -> dict[str, JudgeConfig]:
    """Read the configuration (YAML or JSON) of a judge, or of several by name under `judges:`; one has the name "".

    Raises UserError with file, line and field for anything that is wrong with it.
    """
    source = read_yaml(path)
    if not isinstance(source.content, dict) or "judges" not in source.content:
        return {"": provider_in(source, CONFIGS)}
    named = source.content["judges"]
    if len(source.content) > 1 or not isinstance(named, dict) or len(named) < 2:
        raise UserError(f"{source.where(('judges',))}: must be two judges or more by name, and the only key")
    return {name: provider_in(source.below("judges", name), CONFIGS) for name in named}


def load_judge(path: Path, secret: Secret, answers: Path | None = None) -> Judges:
    """Read a judge's configuration, or several. Raises UserError with the field for anything that is wrong with it.

    `answers` are recorded answers, for the provider `recorded` only.
    """
    configs = read_judges(path)
    if answers is not None and not any(isinstance(config, RecordedConfig) for config in configs.values()):
        where = read_yaml(path).where(("provider",))
        raise UserError(f"{where}: only `recorded` reads the input `answers`; leave it out")
    judges = {name: _judge(config, secret, answers) for name, config in configs.items()}
    return judges.get("") or Panel(judges)


def _judge(config: JudgeConfig, secret: Secret, answers: Path | None) -> Judge:
    if isinstance(config, RecordedConfig):
        return RecordedJudge(answers, config.repeated)
    return HeuristicJudge() if isinstance(config, HeuristicConfig) else LlmJudge(config, secret)


class Judged(list[Verdict]):
    """Verdicts sorted by id, and what was done just now to get them."""

    def __init__(
        self, verdicts: Iterable[Verdict], cards: Sequence[JudgeCard], judged_now: int, spent_now: Usage
    ) -> None:
        super().__init__(sorted(verdicts, key=lambda verdict: verdict.id))
        self.cards = list(cards)
        """Who judged."""
        self.judged_now = judged_now
        """Transcripts that no earlier attempt or run had judged."""
        self.spent_now = spent_now
        self.paid: list[Spent] = []
        """What each of two judges took."""

    @property
    def spent(self) -> Usage:
        """What all of them took, whenever they were made; equal transcripts were judged once."""
        return sum({verdict.sha256: verdict.usage for verdict in self}.values(), start=Usage())

    @property
    def cost(self) -> Cost:
        if self.paid:
            return Cost.of(*self.paid)
        names = " and ".join(dict.fromkeys(verdict.judge for verdict in self))
        return Cost.of(Spent(role="judge", model=names, total=self.spent, now=self.spent_now))


def judge_all(
    judge: Judges,
    rubric: Rubric,
    transcripts: Sequence[Transcript],
    context: Context,
    *,
    concurrency: int,
    timeout_s: float,
    max_unreadable: float = 1.0,
    canaries: int = 0,
    canary_noise: float = 0.1,
) -> Judged:
    """Judge what the journal does not hold yet, and return a verdict on every transcript.

    At most `concurrency` calls run at once, each for at most `timeout_s` seconds. Raises UserError as soon as more than
    the share `max_unreadable` of the transcripts is unparsed or failed, or the judge is seen not to judge at all;
    Temporary when it cannot be reached. Two judges judge one after the other, each with a journal of its own.

    First of all a model is asked once more about `canaries` transcripts that the journal holds: UserError when more
    than the share `canary_noise` of its answers have changed.
    """
    check_judges(judge, rubric, transcripts)
    how = JudgeSettings(concurrency, timeout_s, max_unreadable, canaries, canary_noise)
    found: dict[str, Judged] = {}
    for name, one in members(judge, rubric).items():
        context.tell(f"judging, judge {name}" if name else "judging")
        try:
            found[name] = _judge_by(one, rubric, transcripts, context, how)
        except UserError as e:
            if not name:
                raise
            raise UserError(f"judge `{name}`: {e}") from None
    return found[""] if "" in found else _together(rubric, transcripts, found)


class JudgeSettings(NamedTuple):
    """How a judge is asked, and when it is no longer believed: the settings of `judge_all`."""

    concurrency: int
    timeout_s: float
    max_unreadable: float
    canaries: int
    canary_noise: float


def _together(rubric: Rubric, transcripts: Sequence[Transcript], found: Mapping[str, Judged]) -> Judged:
    by_id = {t.id: t for t in transcripts}
    rows = zip(*found.values(), strict=True)  # each is sorted by id
    verdicts = [both(rubric, by_id[row[0].id], dict(zip(found, row, strict=True))) for row in rows]
    cards = [card for judged in found.values() for card in judged.cards]
    spent = sum((judged.spent_now for judged in found.values()), start=Usage())
    together = Judged(verdicts, cards, max(judged.judged_now for judged in found.values()), spent)
    together.paid = [row for judged in found.values() for row in judged.cost.rows]
    return together


def _judge_by(
    judge: Judge, rubric: Rubric, transcripts: Sequence[Transcript], context: Context, how: JudgeSettings
) -> Judged:
    asked, concurrency, timeout_s = rubric.asked(), how.concurrency, how.timeout_s
    keyed = {judge.key(transcript): transcript for transcript in transcripts}
    substance = Substance(asked) if isinstance(judge, LlmJudge) else None
    work = Work(context.journal(*judge.scope(asked)), keyed, how.max_unreadable, substance, Judgement)
    if how.canaries and isinstance(judge, LlmJudge):
        _check_canaries(judge, rubric, work, how, context)
    account = context.account("judge", judge.label)
    account.found(work.spent_before)
    if work.todo:
        if isinstance(judge, LlmJudge):
            work.all_paid = judge.fetch(asked, work.wanted(), context, account, work.total)
        # The judge hangs up first and the pool waits for its threads after that, also when this thread is told to stop.
        with (
            ThreadPoolExecutor(concurrency, thread_name_prefix="judge") as pool,
            judge.open(asked, concurrency=concurrency, timeout_s=timeout_s, account=account) as ask,
        ):
            drive(work, lambda key: pool.submit(work.judge, ask, key), concurrency, context)
        if isinstance(judge, LlmJudge):
            judge.refuse_rest()
    work.finish()
    verdicts = [to_verdict(rubric, t, judge.label, work.found[judge.key(t)]) for t in transcripts]
    card = judge.card(asked).dated(work.found.values())
    return Judged(verdicts, [card], len(work.todo), work.spent_now)


def _check_canaries(
    judge: LlmJudge, rubric: Rubric, work: Work[Transcript, Judgement], how: JudgeSettings, context: Context
) -> None:
    chosen = some_of([t for t, judgement in work.scored() if judgement.answers], how.canaries)
    if not chosen:
        return
    account = context.account("judge", judge.label)
    now = rejudge(judge, rubric, chosen, concurrency=how.concurrency, timeout_s=how.timeout_s, account=account)
    work.spent_now += sum((judgement.usage for judgement in now.values()), start=Usage())
    refuse_drift({t.id: judgement for t, judgement in work.scored() if t.id in now}, now, how.canary_noise)


def drive(work: Work[I, J], submit: Callable[[str], Future[Answered[J]]], concurrency: int, context: Context) -> None:
    """Keep `concurrency` items with the judge until none is left."""

    def safe_point() -> None:
        context.progress(len(work.found), work.total)

    for _, future in ended(work.todo, submit, concurrency, safe_point):
        work.take(future.result())
