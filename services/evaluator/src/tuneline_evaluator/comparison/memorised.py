"""Whether answers repeat what was learnt, word for word: long runs of words that stand in the training text, too.

Runs of `WORDS` words are what Brown et al. (2020, arXiv 2005.14165) look for. What the user or the system prompt said
before is left out: to quote it is no memory. The base never saw the training text, so its rate is that of chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tuneline.data.conversations import Conversation
from tuneline.data.io import read_lines
from tuneline.data.paired.statistics import rates_differ
from tuneline.data.slices import Slice
from tuneline.data.text.words import compared
from tuneline_evaluator.comparison.effects import Memorised, MemorisedArm, Repeated

WORDS = 13
"""Words in a row."""
CHARACTERS = 26
"""Characters in a row, where most words are single ones, as in Chinese."""
EXAMPLES = 5

Run = tuple[str, ...]


class _Answer(NamedTuple):
    conversation: str
    arm: str
    number: int
    """From 1."""
    runs: list[Run]
    """In order."""


def learnt_in(slices: Path) -> Iterator[str]:
    """Yield each answer that was trained on once. Raises UserError for a file that the slicer did not write."""
    seen = set[str]()
    for row in read_lines(slices, Slice):
        for message in row.messages if row.split == "train" else ():
            if message.role == "assistant" and message.learn and message.content not in seen:
                seen.add(message.content)
                yield message.content


def memorised(talks: Sequence[Conversation], learnt: Iterable[str], significance: float) -> Memorised:
    """Count the answers of both arms that share a long run of words with the text that was learnt."""
    both = [talk for talk in talks if talk.arm in ("base", "finetuned")]
    said = list(chain.from_iterable(compared(exchange.assistant) for talk in both for exchange in talk.exchanges))
    size = CHARACTERS if sum(len(word) == 1 for word in said) > len(said) / 2 else WORDS
    answers = [answer for talk in both for answer in _answers(talk, size)]
    wanted = set(chain.from_iterable(answer.runs for answer in answers))
    found = {run for text in learnt for run in _runs(text, size) if run in wanted}
    rows = [(answer, length) for answer in answers if (length := _longest(answer.runs, found, size))]
    base, finetuned = (_arm(name, answers, rows) for name in ("base", "finetuned"))
    shares = (base.repeating, base.answers), (finetuned.repeating, finetuned.answers)
    differs, p = rates_differ(*shares, significance)
    return Memorised(words=size, base=base, finetuned=finetuned, fisher_p=p, differs=differs)


def _answers(talk: Conversation, size: int) -> Iterator[_Answer]:
    told = set[Run]()
    for message in talk.messages:
        if message.role != "assistant":
            told |= set(_runs(message.content, size))
    for number, exchange in enumerate(talk.exchanges, 1):
        yield _Answer(
            talk.id, talk.arm, number, [run if run not in told else () for run in _runs(exchange.assistant, size)]
        )


def _runs(text: str, size: int) -> list[Run]:
    words = compared(text)
    return [tuple(words[place : place + size]) for place in range(len(words) - size + 1)]


def _longest(runs: Sequence[Run], found: set[Run], size: int) -> int:
    """Return the words of the longest stretch that stands in the training text, run by run; 0 without any."""
    most = now = 0
    for run in runs:
        now = now + 1 if run in found else 0
        most = max(most, now)
    return most + size - 1 if most else 0


def _arm(name: str, answers: Sequence[_Answer], rows: Sequence[tuple[_Answer, int]]) -> MemorisedArm:
    mine = sorted(
        ((a, n) for a, n in rows if a.arm == name), key=lambda row: (-row[1], row[0].conversation, row[0].number)
    )
    return MemorisedArm(
        answers=sum(answer.arm == name for answer in answers), repeating=len(mine),
        longest=[Repeated(conversation=a.conversation, answer=a.number, words=n) for a, n in mine[:EXAMPLES]],
    )  # fmt: skip
