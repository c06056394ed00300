"""Reads what a model answered to the judge's prompt: tolerant about what surrounds the JSON, strict about the JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tuneline.data.rubric import Answer, Criterion, Rubric
from tuneline.errors import BadJson, Unreadable
from tuneline.judge.prompt import allowed_answers
from tuneline.parsing.json import parse_json

MAX_CHARS = 1_000_000
"""Longer answers are not looked at: no judge has so much to say."""

_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)


class Answers(NamedTuple):
    """One answer and one reason per criterion."""

    answers: dict[str, Answer]
    reasons: dict[str, str]


def read_answers(text: str, rubric: Rubric) -> Answers:
    """Read the answers of a judge. Raises Unreadable unless there is exactly one valid answer to each criterion."""
    found = _find_object(text)
    unknown = len(found.keys() - {criterion.id for criterion in rubric.criteria})
    if unknown:
        raise Unreadable(f"{unknown} keys are no criteria of the rubric")
    read = {criterion.id: _read(criterion, found) for criterion in rubric.criteria}
    return Answers({name: answer for name, (answer, _) in read.items()}, {name: why for name, (_, why) in read.items()})


def _find_object(text: str) -> dict[str, object]:
    if not text.strip():
        raise Unreadable("empty")
    if len(text) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    problem = "no JSON object"
    for candidate in _candidates(text):
        try:
            value = parse_json(candidate.encode("utf-8", "surrogatepass"))
        except BadJson as bad:
            problem = bad.problem.partition(";")[0]
            continue
        if isinstance(value, dict):
            return value
        problem = "JSON, but not an object"
    raise Unreadable(problem)


def _candidates(text: str) -> Iterator[str]:
    """Yield what may be the object: all of the text, what is fenced, and from the first brace to the last."""
    yield text
    yield from _FENCED.findall(text)
    begin, end = text.find("{"), text.rfind("}")
    if 0 <= begin < end:
        yield text[begin : end + 1]


def _read(criterion: Criterion, found: dict[str, object]) -> tuple[Answer, str]:
    value = found.get(criterion.id)
    if not isinstance(value, dict):
        raise Unreadable(f"{criterion.id} is {'missing' if value is None else 'not an object'}")
    if value.keys() != {"reason", "answer"}:
        raise Unreadable(f"{criterion.id} must have exactly the keys reason and answer")
    for answer in allowed_answers(criterion):
        if value["answer"] == answer:
            reason = value["reason"]
            if not isinstance(reason, str):
                raise Unreadable(f"{criterion.id}: the reason is not text")
            return answer, reason.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
    raise Unreadable(f"{criterion.id}: the answer is not {' or '.join(allowed_answers(criterion))}")
