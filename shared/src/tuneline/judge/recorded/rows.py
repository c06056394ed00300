"""What people and other tools write about a transcript, read as answers by criterion.

{"id", "answers": {"POLITE": "YES", …}, "reasons": {…}, "status"}      verdicts.jsonl, and what resembles it
{"id", "POLITE": "yes", "ASKS": {"answer": 1, "reason": "…"}}          a column per criterion, as in spreadsheets
{"id", "criterion": "POLITE", "answer": true}                          a row per criterion
{"data": {"id"}, "annotations": [{"result": […]}]}                     Label Studio
{"vars": {"id"}, "gradingResult": {"componentResults": […]}}           promptfoo, a criterion per `metric`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from tuneline.data.reading.ids import as_id
from tuneline.data.verdicts import Status
from tuneline.judge.recorded.files import IDS, Place
from tuneline.parsing.problems import printable

Given = Literal["YES", "NO", "NA", "ERROR", "?"]
"""ERROR: whoever judged failed at this criterion. `?`: nothing that can be read as an answer."""

_WORDS: Mapping[str, Given] = {
    **dict.fromkeys(("yes", "y", "true", "1", "1.0", "pass", "passed", "met", "✓", "✔", "ja", "oui", "sí"), "YES"),
    **dict.fromkeys(("no", "n", "false", "0", "0.0", "fail", "failed", "not met", "✗", "✘", "nein", "non"), "NO"),
    **dict.fromkeys(("na", "n/a", "n.a", "not applicable", "not_applicable"), "NA"),
    **dict.fromkeys(("error", "err", "unparsed", "unparseable", "parse_error", "invalid"), "ERROR"),
}
_ANSWERS = ("answers", "judgements", "judgments", "labels", "ratings", "criteria", "criterion_results")
CRITERION = ("criterion", "criterion_id", "metric", "question_id")
ANSWER = (
    "answer", "value", "label", "judgement", "judgment", "verdict", "result", "rating", "score", "pass", "passed",
)  # fmt: skip
REASON = ("reason", "reasoning", "rationale", "explanation", "justification", "comment")
_REASONS = ("reasons", "reasonings", "rationales", "explanations")
_BESIDE = {*IDS, *_REASONS, *REASON, *ANSWER, "status", "sha256"}
"""Columns beside those of criteria."""

_STATUSES: Mapping[str, Status] = {
    **dict.fromkeys(("", "ok", "done", "success", "complete", "completed", "judged", "pass", "fail"), "scored"),
    **dict.fromkeys(("error", "parse_error", "invalid"), "unparsed"),
    **{status: status for status in get_args(Status)},
}  # fmt: skip


class AnswerRow(NamedTuple):
    """What a file says about one transcript."""

    place: Place
    id: str
    answers: dict[str, Given]
    reasons: dict[str, str]
    status: Status
    sha256: str | None
    """Content that was judged; where it is recorded it must still be the same."""
    is_part: bool
    """Holds the answer to one criterion, to be joined with the others."""


class Bad(NamedTuple):
    """What is wrong with an item."""

    place: Place
    problem: str


class _Refused(Exception):  # noqa: N818  (a fact about an item)
    pass


def read_rows(place: Place, item: object) -> Iterator[AnswerRow | Bad]:
    """Yield what an item says, or what is wrong with it."""
    try:
        yield from _rows(place, item)
    except _Refused as refused:
        yield Bad(place, str(refused))


def _rows(place: Place, item: object) -> Iterator[AnswerRow]:
    if not isinstance(item, dict):
        raise _Refused("is no object with an id and answers")
    if isinstance(item.get("data"), dict) and isinstance(item.get("annotations"), list):
        for annotation in item["annotations"]:
            yield _row(place, {**item["data"], "answers": list(_annotated(annotation))})
    elif isinstance(item.get("gradingResult"), dict):
        case = item.get("testCase")
        told = item.get("vars") or (case.get("vars") if isinstance(case, dict) else None)
        graded = list(_graded(item["gradingResult"]))
        yield _row(place, {**(told if isinstance(told, dict) else {}), "answers": graded})
    else:
        yield _row(place, item)


def _annotated(annotation: object) -> Iterator[object]:
    """Yield the choices that Label Studio's regions hold."""
    result = annotation.get("result") if isinstance(annotation, dict) else None
    for region in result if isinstance(result, list) else []:
        value = region.get("value") if isinstance(region, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list) and len(choices) == 1:
            yield {"criterion": region.get("from_name"), "answer": choices[0]}


def _graded(result: Mapping[str, object]) -> Iterator[object]:
    """Yield what promptfoo's assertions with a `metric` came to."""
    parts = result.get("componentResults")
    for part in parts if isinstance(parts, list) else []:
        asked = part.get("assertion") if isinstance(part, dict) else None
        if isinstance(asked, dict) and isinstance(asked.get("metric"), str):
            yield {"criterion": asked["metric"], "answer": part.get("pass"), "reason": part.get("reason")}


def _row(place: Place, item: Mapping[str, object]) -> AnswerRow:
    keys = {plain_key(key): key for key in reversed(list(item))}
    held = next((item[keys[key]] for key in _ANSWERS if key in keys and isinstance(item[keys[key]], dict | list)), None)
    named = _first(item, [keys[key] for key in CRITERION if key in keys])
    is_part = held is None and isinstance(named, str) and any(key in keys for key in ANSWER)
    if held is not None:
        answers, reasons = _answers_of(held, strict=True)
    elif is_part:
        answers, reasons = _answers_of([{plain_key(key): value for key, value in item.items()}], strict=True)
    else:
        wide = {key: value for key, value in item.items() if plain_key(key) not in _BESIDE}
        answers, reasons = _answers_of(wide, strict=False)
    more = _first(item, [keys[key] for key in _REASONS if key in keys])
    reasons |= {key: why for key, why in more.items() if isinstance(why, str)} if isinstance(more, dict) else {}
    sha256 = item.get("sha256")
    row = AnswerRow(
        place, _id_of(item, keys), answers, reasons, _status_of(item, keys),
        sha256 if isinstance(sha256, str) else None, is_part,
    )  # fmt: skip
    _refuse_surrogates(row)
    return row


def _id_of(item: Mapping[str, object], keys: Mapping[str, str]) -> str:
    name = _first(item, [keys[key] for key in IDS if key in keys])
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise _Refused(f"id: is required, that of the transcript ({', '.join(IDS)})")
    return as_id(name).id


def _status_of(item: Mapping[str, object], keys: Mapping[str, str]) -> Status:
    status = item[keys["status"]] if "status" in keys else ""
    if not isinstance(status, str) or plain_key(status) not in _STATUSES:
        raise _Refused(f"status: is none of {', '.join(get_args(Status))}")
    return _STATUSES[plain_key(status)]


def _answers_of(held: object, *, strict: bool) -> tuple[dict[str, Given], dict[str, str]]:
    """Read answers by criterion, or a list with an entry for each. `strict` refuses what is no answer."""
    answers: dict[str, Given] = {}
    reasons: dict[str, str] = {}
    pairs: Iterable[tuple[str, object]] = held.items() if isinstance(held, dict) else map(_entry, _listed(held))
    for name, value in pairs:
        answer = _first(value, ANSWER) if isinstance(value, dict) else value
        why = _first(value, REASON) if isinstance(value, dict) else None
        if answer is None or answer == "":
            continue
        if name in answers:
            raise _Refused(f"answers.{printable(name)}: is given twice")
        answers[name] = read_given(answer)
        if answers[name] == "?" and strict:
            raise _Refused(f"answers.{printable(name)}: is none of YES, NO, NA and ERROR")
        if isinstance(why, str):
            reasons[name] = why
    return answers, reasons


def _listed(held: object) -> list[object]:
    return held if isinstance(held, list) else []


def _entry(entry: object) -> tuple[str, object]:
    name = _first(entry, (*CRITERION, "id", "name")) if isinstance(entry, dict) else None
    if not isinstance(name, str):
        raise _Refused(f"answers: an entry names no criterion ({', '.join(CRITERION)})")
    return name, entry


def read_given(value: object) -> Given:
    """Return the answer that a word or a number means, however people write it."""
    if isinstance(value, str | bool | int | float):
        return _WORDS.get(str(value)[:100].strip(" \t.\"'").casefold(), "?")
    return "?"


def _first(held: Mapping[str, object], keys: Sequence[str]) -> object:
    return next((held[key] for key in keys if key in held), None)


def plain_key(key: str) -> str:
    """Return a name of a column without what spellings differ in."""
    return re.sub(r"[^a-z0-9]+", "_", key[:100].strip().casefold())


def _refuse_surrogates(row: AnswerRow) -> None:
    for text in (row.id, *row.answers, *row.reasons, *row.reasons.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Refused("half of a surrogate pair, which is not a character") from None
