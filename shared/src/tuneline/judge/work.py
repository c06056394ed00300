"""What is judged, what is left, and whether the judge works: the bookkeeping of one judge over one set.

A score is final. An unreadable answer is asked for once more, and again by the next run. What says something about the
transcript (a refusal, a block) is kept once the judge has shown that it judges others; what cost nothing is not kept,
because a server that is mended takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from tuneline.data.io import read_row
from tuneline.data.verdicts import Asking
from tuneline.errors import ServerDown, Stopped, Temporary, UserError
from tuneline.stage import Journal, Usage

MOST_ASKS = 2
"""An unreadable answer is asked for once more."""

UNREADABLE = ("unparsed", "failed")
"""Statuses that say more about the judge than about the transcript."""

MOST_REFUSED, ENOUGH = 0.9, 50
"""Share of the transcripts that a judge may not take, whatever it says of them; and answers after which that counts."""

KEPT = "What was scored is kept, the rest is asked again by the next run:"
UNPARSED = f"{KEPT} use a model that follows a JSON schema, raise the judge's `max_tokens` if answers were cut,"
FAILED = f"{KEPT} mend the judge's settings or its server, which does not take what it is asked,"
RECORDED = "Have these judged again and replace their answers, leave the transcripts out,"
"""Ways out: of a model that is not understood or does not understand, and of answers that exist already."""

log = structlog.get_logger()


class Item(Protocol):
    """What is judged: a transcript, or two of them."""

    @property
    def id(self) -> str: ...


I = TypeVar("I", bound=Item)  # noqa: E741
J = TypeVar("J", bound=Asking)
J_contra = TypeVar("J_contra", bound=Asking, contravariant=True)


class Signs(Protocol[J_contra]):
    """Counts what judgements hold, and tells when it is nothing."""

    def add(self, judgement: J_contra, /) -> None:
        """Count a judgement that was scored."""

    def is_empty(self, judgement: J_contra, /) -> bool:
        """Tell whether it is worth no more than no answer."""

    def problem(self, total: int, /) -> str:
        """Say what is wrong with the judge, of whom `total` are asked for; nothing as long as it cannot be told."""


@dataclass(frozen=True)
class Answered(Generic[J]):
    """What became of one item; `judgement` is None, and `problem` says why, when it could not be judged now."""

    key: str
    judgement: J | None
    spent: Usage
    problem: str = ""


class Work(Generic[I, J]):
    """The items of one set by key; `substance` is None for a judge that gives no reasons of its own."""

    def __init__(
        self, journal: Journal, keyed: Mapping[str, I], max_unreadable: float, substance: Signs[J] | None,
        kind: type[J], name: str = "transcripts",
    ) -> None:  # fmt: skip
        self._journal, self._keyed, self._max_unreadable = journal, keyed, max_unreadable
        self._substance, self._kind, self._items = substance, kind, name
        self._begun = {key: rows for key in keyed if (rows := self._rows_of(key))}
        self.found = {key: rows[-1] for key, rows in self._begun.items() if self._is_final(rows[-1])}
        self.todo = [key for key in keyed if key not in self.found]
        self.total = len(keyed)
        self.spent_now = Usage()
        self.spent_before = sum((rows[-1].usage for rows in self._begun.values()), start=Usage())
        """What the answers took that the journal held."""
        self.all_paid = False
        """Whether the answers are there already, as from a batch: then all are read before a stop."""
        self._stop: UserError | None = None
        self._postponed: list[str] = []
        self._held: list[str] = []
        self._why: dict[str, Counter[str]] = {}
        for judgement in self.found.values():
            self._count(judgement)
        self._refuse_hollow()

    def scored(self) -> Iterator[tuple[I, J]]:
        """Yield what has a score."""
        for key, judgement in self.found.items():
            if judgement.status == "scored":
                yield self._keyed[key], judgement

    def wanted(self) -> Iterator[tuple[I, bool]]:
        """Yield what `judge` will ask first: each item to do, and whether it is asked about again."""
        for key in self.todo:
            rows = self._begun.get(key, [])
            yield self._keyed[key], bool(rows) and rows[-1].status == "unparsed"

    def judge(self, ask: Callable[[I, bool], J], key: str) -> Answered[J]:
        """Judge one item, in a worker thread. What was paid and read is journalled at once, a failure too."""
        rows, spent = list(self._begun.get(key, ())), Usage()
        judgement = rows[-1] if rows else None
        asks = 1 if self._stop or (judgement and judgement.status == "unparsed") else MOST_ASKS
        while asks > 0:
            try:
                answer = ask(self._keyed[key], judgement is not None and judgement.status == "unparsed")
            except (ServerDown, Stopped):
                raise
            except Temporary as e:  # it concerns this item; the others may fare better
                return Answered(key, None, spent, str(e))
            spent += answer.usage
            asks -= answer.asked
            judgement = answer if judgement is None else judgement.followed_by(answer)
            if judgement.status in ("scored", "unparsed"):
                self._journal.put(_name(key, len(rows)), judgement.model_dump())
                rows.append(judgement)
            if judgement.status != "unparsed":
                break
        return Answered(key, judgement, spent)

    def take(self, answered: Answered[J]) -> None:
        """Add what a worker found. Raises UserError when it shows that the judge does not judge."""
        name, judgement = self._keyed[answered.key].id, answered.judgement
        self.spent_now += answered.spent
        if judgement is None:
            self._postponed.append(f"{name}: {answered.problem}")
            return
        # As it is read from a journal, so that what is written of it does not depend on who made it.
        self.found[answered.key] = judgement = self._kind.model_validate(judgement.model_dump())
        self._count(judgement)
        if judgement.status != "scored":
            log.warning("not scored", transcript=name, status=judgement.status, why=judgement.detail)
        if judgement.status in ("refused", "blocked") and judgement.usage.input_tokens:
            self._held.append(answered.key)
        try:
            self._refuse_unreadable()
            if len(self.found) >= ENOUGH:
                self._refuse_refusals(but="too_long")
            self._refuse_hollow()
        except UserError as e:
            if not self.all_paid:
                raise
            self._stop = self._stop or e
        if len(self._held) <= self._of("scored"):
            self._keep_held()

    def finish(self) -> None:
        """End the work. Raises UserError when the judge took next to nothing, Temporary when some is left to judge."""
        if self._stop:
            raise self._stop
        self._refuse_hollow()
        self._refuse_refusals()
        self._keep_held()
        if self._postponed:
            count, first = len(self._postponed), self._postponed[0]
            raise Temporary(f"{count} of {self.total} not judged ({first}); run the same command again to try these")

    def _is_final(self, judgement: J) -> bool:
        empty = self._substance is not None and self._substance.is_empty(judgement)
        return judgement.status != "unparsed" and not empty

    def _count(self, judgement: J) -> None:
        self._why.setdefault(judgement.status, Counter())[judgement.detail] += 1
        if judgement.status == "scored" and self._substance is not None:
            self._substance.add(judgement)

    def _of(self, *statuses: str) -> int:
        return sum(self._why[status].total() for status in statuses if status in self._why)

    def _most_often(self, *statuses: str) -> str:
        why = sum((self._why[status] for status in statuses if status in self._why), Counter[str]())
        return why.most_common(1)[0][0]

    def _keep_held(self) -> None:
        for key in self._held:
            self._journal.put(_name(key, len(self._rows_of(key))), self.found[key].model_dump())
        self._held.clear()

    def _refuse_unreadable(self) -> None:
        """Raise UserError when too many answers are of no use: then the judge is wrong, not the transcripts."""
        count = self._of(*UNREADABLE)
        if count > self._max_unreadable * self.total:
            way_out = UNPARSED if self._of("unparsed") >= self._of("failed") else FAILED
            raise UserError(
                f"{count} of {self.total} {self._items} got no readable answer (most often: "
                f"{self._most_often(*UNREADABLE)}), and at most {self._max_unreadable:.0%} may. "
                f"{RECORDED if self._substance is None else way_out} or accept more with `max_unparsed`."
            )

    def _refuse_refusals(self, but: str = "") -> None:
        """Raise UserError when the judge takes next to nothing: then it is no property of the transcripts.

        Before the end those that are too long do not count: they cost nothing, and may only stand at the beginning.
        """
        statuses = [status for status in self._why if status not in ("scored", "unparsed", but)]
        count, of = self._of(*statuses), len(self.found)
        if count > MOST_REFUSED * of:
            each = ", ".join(f"{self._of(status)} {status}" for status in sorted(statuses))
            raise UserError(
                f"The judge took {of - count} of the first {of} {self._items} ({each}; most often: "
                f"{self._most_often(*statuses)}): that is about the judge or its settings, not about them. Mend it, or "
                "use another one, and run the same command again: what was scored is kept, the rest is asked again."
            )

    def _refuse_hollow(self) -> None:
        """Raise UserError when answers have the right form and hold nothing."""
        if self._substance is not None and (problem := self._substance.problem(self.total)):
            raise UserError(
                f"The judge does not judge: {problem}. Use a larger model, or look at `tuneline judge-check`. What was "
                "paid is kept; the same model with another `seed` (Anthropic: `max_tokens`) is asked anew."
            )

    def _rows_of(self, key: str) -> list[J]:
        """Return the answers about one item, the last one is the newest: rows of several runs have no other order."""
        rows: list[J] = []
        while row := read_row(self._journal, _name(key, len(rows)), self._kind):
            rows.append(row)
        return rows


def _name(key: str, number: int) -> str:
    return f"{key} {number}" if number else key
