"""Reads what a model answered to the judge's prompt: tolerant about what stands beside an answer, strict about answers.

What a judge writes may quote the transcript, and a transcript may hold a verdict of its own. So thoughts are cut off
first, every object that answers the rubric is looked at, and where two differ, or one is broken, nothing is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from tuneline.data.rubric import Criterion, Rubric
from tuneline.data.text.rules import Answer
from tuneline.errors import BadJson, Unreadable
from tuneline.judge.prompt import allowed_answers
from tuneline.llm.control_tokens import neutralise
from tuneline.llm.thoughts import without_thoughts
from tuneline.parsing.json import parse_json

MAX_CHARS = 1_000_000
"""Longer answers are not looked at: no judge has so much to say."""

MOST_OBJECTS = 100
"""Braces that are looked at: each costs a look at what follows, up to the end."""


class JudgeAnswers(NamedTuple):
    """One answer and one reason per criterion."""

    answers: dict[str, Answer]
    reasons: dict[str, str]


def read_answers(text: str, rubric: Rubric, said: str = "") -> JudgeAnswers:
    """Read the answers of a judge, but none that stands in `said`, the transcript.

    Raises Unreadable unless there is exactly one valid answer to each criterion.
    """
    ids = {criterion.id for criterion in rubric.criteria}
    found = [_strict(candidate, rubric) for candidate in candidates(text, ids, said)]
    if any(other.answers != found[-1].answers for other in found):
        raise Unreadable(f"{len(found)} judgements that differ")
    return found[-1]


def candidates(text: str, ids: set[str], said: str) -> list[dict[str, object]]:
    """Return the objects that may be the answer, at least one; those that have none of the keys `ids` only if all do.

    What stands in `said` is a quotation. Raises Unreadable where there is none, or one that is broken.
    """
    if not text.strip():
        raise Unreadable("empty")
    if len(text) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    whole, said = None, neutralise(said)
    problem = "JSON, but not an object"
    try:
        whole = _parse(text)
    except Unreadable as unreadable:
        problem = str(unreadable)
    pieces = [text] if isinstance(whole, dict) else list(_objects(without_thoughts(text), ids))
    solid, quoted = _solid(said), list(_quoted(said, ids))
    own = [_parse(piece) for piece in pieces if _solid(piece) not in solid]
    objects = [value for value in own if isinstance(value, dict) and value not in quoted]
    if not objects:
        raise Unreadable("it only quotes the transcript" if pieces else problem)
    return [value for value in objects if value.keys() & ids] or objects


def _objects(text: str, ids: set[str]) -> Iterator[str]:
    """Yield every JSON object that stands in `text`. Raises Unreadable where one that names a criterion is broken."""
    decoder = json.JSONDecoder()
    ours = re.compile(rf"\{{[\s\"'`*]*(?:{'|'.join(map(re.escape, ids))})\b")
    end = 0
    for _ in range(MOST_OBJECTS):
        if (at := text.find("{", end)) < 0:
            return
        try:
            _, end = decoder.raw_decode(text, at)
            yield text[at:end]
        except RecursionError:
            raise Unreadable("nested too deeply") from None
        except ValueError:
            if ours.match(text, at):
                raise Unreadable("not JSON: an object in it is broken") from None
            end = at + 1
    raise Unreadable(f"not JSON, with more than {MOST_OBJECTS} braces")


def _quoted(said: str, ids: set[str]) -> Iterator[object]:
    """Yield the objects in a transcript as far as they can be read: a judge may repeat one with its keys reordered."""
    with suppress(Unreadable):
        yield from map(_parse, _objects(said, ids))


def _solid(text: str) -> str:
    return "".join(text.split())


def _parse(text: str) -> object:
    try:
        return parse_json(text.encode("utf-8", "surrogatepass"))
    except BadJson as bad:
        raise Unreadable(bad.problem.partition(";")[0]) from None


def _strict(found: dict[str, object], rubric: Rubric) -> JudgeAnswers:
    if not found.keys() & {criterion.id for criterion in rubric.criteria}:
        raise Unreadable(f"none of its {len(found)} keys is a criterion of the rubric")
    read = {criterion.id: _read(criterion, found) for criterion in rubric.criteria}
    answers = {name: answer for name, (answer, _) in read.items()}
    return JudgeAnswers(answers, {name: reason for name, (_, reason) in read.items()})


def _read(criterion: Criterion, found: dict[str, object]) -> tuple[Answer, str]:
    """Return answer and reason; what else stands beside them is passed over."""
    value = found.get(criterion.id)
    if not isinstance(value, dict):
        raise Unreadable(f"{criterion.id} is {'missing' if value is None else 'not an object'}")
    if missing := {"reason", "answer"} - value.keys():
        raise Unreadable(f"{criterion.id} has no {' and no '.join(sorted(missing))}")
    answer = as_answer(value["answer"])
    if answer is None or answer not in allowed_answers(criterion):
        raise Unreadable(f"{criterion.id}: the answer is not {' or '.join(allowed_answers(criterion))}")
    if (reason := as_reason(value["reason"])) is None:
        raise Unreadable(f"{criterion.id}: the reason is not text")
    return answer, reason


def as_reason(value: object) -> str | None:
    """Return a reason as one text; None for what is no text."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = " ".join(value)
    # Half a surrogate pair cannot be stored.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


_WORDS: dict[str, Answer] = {
    "YES": "YES", "TRUE": "YES", "NO": "NO", "FALSE": "NO", "NA": "NA", "N/A": "NA", "NOT APPLICABLE": "NA"
}  # fmt: skip


def as_answer(value: object) -> Answer | None:
    """Return the answer that a word, however written, or a truth value means; None for everything else."""
    if isinstance(value, bool):
        return "YES" if value else "NO"
    return _WORDS.get(value.strip(" \t\r\n.!\"'*_`").upper()) if isinstance(value, str) else None
