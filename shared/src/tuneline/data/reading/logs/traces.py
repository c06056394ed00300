"""Traces of MLflow: the spans of one request, of which those of models have what was sent and answered.

A trace is as `Trace.to_json` writes it, or a row of `search_traces`. The last call of a model tells the conversation if
it was sent what all calls before it were; else which of them is meant nobody can tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tuneline.data.reading.logs.calls import as_json, read_request, read_response, with_answers
from tuneline.data.reading.logs.spans import attributes_of
from tuneline.data.reading.messages.content import Problem
from tuneline.data.reading.messages.turns import Turn
from tuneline.parsing.problems import Loc

INPUTS, OUTPUTS, TYPE = "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"
MODELS = ("CHAT_MODEL", "LLM")
NO_CALL = "a trace of MLflow without a span of a model (CHAT_MODEL or LLM) that was sent messages: log the calls, too"
APART = "a trace of MLflow with {} calls of a model that do not go on from each other: keep the one that is meant"


class _Call(NamedTuple):
    began: str
    asked: list[Turn]
    answered: object


def is_trace(record: Mapping[str, object]) -> bool:
    """Tell whether a record is a trace, or a row with one."""
    return bool(_spans(record))


def read_trace(record: Mapping[str, object], loc: Loc, problems: list[Problem]) -> list[Turn] | None:
    """Return what was said in the calls of a model; None if the record is no trace."""
    spans = _spans(record)
    if not spans:
        return None
    found: list[Problem] = []
    calls = sorted(filter(None, (_call(span, loc, found) for span in spans)), key=lambda call: call.began)
    if not calls:
        problems.append(Problem(loc, NO_CALL, "shape"))
        return []
    last = calls[-1]
    said = [(turn.role, turn.text) for turn in last.asked]
    if any([(t.role, t.text) for t in call.asked] != said[: len(call.asked)] for call in calls):
        problems.append(Problem(loc, APART.format(len(calls)), "shape"))
        return []
    problems += found
    return with_answers(last.asked, read_response(last.answered, (*loc, OUTPUTS), problems))


def _spans(record: Mapping[str, object]) -> list[Mapping[str, object]]:
    whole = as_json(record.get("trace", record))
    held = as_json(whole.get("data", whole)) if isinstance(whole, Mapping) else None
    listed = as_json(held.get("spans")) if isinstance(held, Mapping) else None
    spans = [span for span in listed if isinstance(span, Mapping)] if isinstance(listed, list) else []
    return [span for span in spans if TYPE in attributes_of(span) or INPUTS in attributes_of(span)]


def _call(span: Mapping[str, object], loc: Loc, problems: list[Problem]) -> _Call | None:
    attributes = attributes_of(span)
    if str(attributes.get(TYPE)).strip('"') not in MODELS:
        return None
    asked = read_request(attributes.get(INPUTS), (*loc, INPUTS), problems)
    began = str(span.get("start_time_unix_nano", span.get("start_time", ""))).zfill(20)
    return _Call(began, asked, attributes.get(OUTPUTS)) if asked else None
