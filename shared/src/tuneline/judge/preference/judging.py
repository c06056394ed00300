"""Has pairs compared, each in both orders, every call paid exactly once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tuneline.data.rubric import Rubric
from tuneline.data.transcripts import Transcript
from tuneline.data.verdicts import to_verdict
from tuneline.errors import UserError
from tuneline.judge.by_model import LlmJudge, read_reply, said_in
from tuneline.judge.heuristic import HeuristicJudge
from tuneline.judge.judging import drive
from tuneline.judge.panel import Judge, Judges, members
from tuneline.judge.preference.choice import Choice, ChoiceSubstance, read_choice
from tuneline.judge.preference.prompt import PROMPT_VERSION, Shown, preference_messages, preference_schema
from tuneline.judge.work import Work
from tuneline.llm.forecast import Expected, forecast
from tuneline.llm.token_counts import count_tokens
from tuneline.stage import Account, Context, Cost, Forecast, Spent, Usage

ROLE = "preference"
"""Of these calls in plan and ledger."""
ANSWER_TOKENS = 60
"""One or two sentences, and what the form takes around them."""


class Contest(NamedTuple):
    """Two transcripts to be compared; `reference` is a good answer to what both were asked."""

    id: str
    left: Transcript
    right: Transcript
    reference: str | None = None

    @property
    def orders(self) -> tuple[Shown, Shown]:
        """The left one first, and the right one first."""
        return (
            Shown(f"{self.id}/1", self.left, self.right, self.reference),
            Shown(f"{self.id}/2", self.right, self.left, self.reference),
        )

    @property
    def identical(self) -> bool:
        """Whether both are the same to the letter, so that nobody need be asked."""
        return self.left.sha256 == self.right.sha256


class Compared(NamedTuple):
    """What became of a pair: of each judge the choices in both orders, none for an identical pair."""

    pair: Contest
    choices: list[tuple[Choice, Choice]]


class Comparisons(NamedTuple):
    """All pairs in their order, and what was done just now."""

    pairs: list[Compared]
    asked_now: int
    """Calls that no earlier attempt or run had made."""
    cost: Cost


class Asked(NamedTuple):
    """What is asked, and how."""

    question: str
    concurrency: int
    timeout_s: float
    max_unreadable: float
    """Share of the calls that may stay without a readable answer."""


def compare_all(judge: Judges, rubric: Rubric, pairs: Sequence[Contest], context: Context, how: Asked) -> Comparisons:
    """Ask the judges of a rubric which of two they prefer, in both orders; identical pairs are ties without a call.

    Raises UserError when a judge does not judge, or cannot be asked this; Temporary when it cannot be reached.
    """
    shown = [order for pair in pairs if not pair.identical for order in pair.orders]
    found, now, spent = list[Mapping[str, Choice]](), 0, list[Spent]()
    for one in members(judge, rubric).values():
        if isinstance(one, HeuristicJudge):
            found.append(_by_rules(one, rubric, shown, context))
        elif isinstance(one, LlmJudge):
            work = _by_model(one, shown, context, how)
            found.append(work.found)
            now += len(work.todo)
            total = sum((choice.usage for choice in work.found.values()), start=Usage())
            spent.append(Spent(role=ROLE, model=one.label, total=total, now=work.spent_now))
        else:
            raise UserError(f"judge: {one.label} cannot be asked what it prefers; set `preference: false`")
    compared = [Compared(pair, [] if pair.identical else [_both(pair, choices) for choices in found]) for pair in pairs]
    return Comparisons(compared, now, Cost.of(*spent) if spent else Cost())


def _both(pair: Contest, choices: Mapping[str, Choice]) -> tuple[Choice, Choice]:
    first, second = pair.orders
    return choices[first.sha256], choices[second.sha256]


def scope(judge: LlmJudge, question: str) -> tuple[str, ...]:
    """Return what a choice depends on apart from what is shown."""
    identity = hashlib.sha256(json.dumps(judge.config.identity, sort_keys=True).encode()).hexdigest()
    asked = hashlib.sha256(question.encode()).hexdigest()
    return ROLE, judge.config.provider, identity, str(PROMPT_VERSION), asked


def _by_model(judge: LlmJudge, shown: Sequence[Shown], context: Context, how: Asked) -> Work[Shown, Choice]:
    keyed = {one.sha256: one for one in shown}
    journal, substance = context.journal(*scope(judge, how.question)), ChoiceSubstance(how.question)
    work = Work(journal, keyed, how.max_unreadable, substance, Choice, "comparisons")
    account = context.account(ROLE, judge.label)
    account.found(work.spent_before)
    if work.todo:
        _ask(judge, work, account, context, how)
    work.finish()
    return work


def _ask(judge: LlmJudge, work: Work[Shown, Choice], account: Account, context: Context, how: Asked) -> None:
    from tuneline.llm.providers.provider import Request

    def request(one: Shown, again: bool) -> Request:
        messages = preference_messages(one, how.question, again=again)
        return Request(messages, preference_schema(), int(again), one.sha256)

    calls = judge.calls()
    wanted = (request(one, again) for one, again in work.wanted())
    work.all_paid = calls.fetch(wanted, context, account, work.total)
    with (
        ThreadPoolExecutor(how.concurrency, thread_name_prefix=ROLE) as pool,
        calls.open(concurrency=how.concurrency, timeout_s=how.timeout_s, account=account) as call,
    ):

        def ask(one: Shown, again: bool) -> Choice:
            asked = request(one, again)
            said = said_in(asked)
            return read_reply(call(asked), Choice, lambda text: read_choice(text, said))

        drive(work, lambda key: pool.submit(work.judge, ask, key), how.concurrency, context)
    calls.refuse_rest()


def _by_rules(judge: Judge, rubric: Rubric, shown: Sequence[Shown], context: Context) -> dict[str, Choice]:
    """Prefer what has the higher score by the rubric's own rules: for demonstration, and no journal is needed."""
    found: dict[str, Choice] = {}
    with judge.open(rubric.asked(), concurrency=1, timeout_s=1) as ask:
        for done, one in enumerate(shown):
            context.progress(done, len(shown))
            first, second = (
                to_verdict(rubric, talk, judge.label, ask(talk, False)).score or 0.0 for talk in (one.first, one.second)
            )
            side = "TIE" if first == second else "A" if first > second else "B"
            reason = f"the rules give A {100 * first:.1f} and B {100 * second:.1f} points"
            found[one.sha256] = Choice.model_validate({"status": "scored", "answer": side, "reason": reason})
    return found


def forecast_comparing(judge: LlmJudge, question: str, tokens: Sequence[int], concurrency: int) -> Forecast:
    """Return what comparing takes; `tokens` are those of both transcripts, one number for each pair."""
    empty = Transcript("t", ())
    [message] = preference_messages(Shown("t", empty, empty), question, again=False)
    form = count_tokens(message["content"])
    expected = Expected([form + size for size in tokens for _ in range(2)], ANSWER_TOKENS)
    return forecast(judge.config, ROLE, judge.label, expected, Usage(), concurrency)
