"""Requests to the APIs of models, and their responses, as logs and proxies keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuneline.data.reading.logs.streams import events_of, is_stream, text_of
from tuneline.data.reading.messages.content import MAX_DEPTH, Problem
from tuneline.data.reading.messages.marks import is_cut
from tuneline.data.reading.messages.turns import Turn, is_message, read_message, read_turns, turns_of
from tuneline.errors import BadJson
from tuneline.parsing.json import parse_json
from tuneline.parsing.problems import Loc

LISTS = ("messages", "contents", "chat_history", "input", "prompt")
TEXTS = ("input", "question", "query", "prompt", "text", "human_input", "user_input")
SYSTEMS = ("system", "system_instruction", "systemInstruction", "instructions")
INNER = ("inputBodyJson", "body", "json", "request", "kwargs", "input", "inputs", "params")
ANSWERS = (
    "choices", "candidates", "generations", "message", "messages", "output", "outputs", "content", "parts", "body",
    "outputBodyJson", "response", "kwargs", "answer", "text", "generated_text", "result", "completion",
)  # fmt: skip
"""Keys that lead to an answer, in the order in which they are followed."""
ENVELOPES = ("choices", "candidates", "generations", "message", "messages", "output", "outputs", "content", "parts",
             "body", "outputBodyJson", "response", "kwargs")  # fmt: skip
"""Those that only servers and programs write, over a list or an object."""


def read_request(value: object, loc: Loc, problems: list[Problem], depth: int = 0) -> list[Turn] | None:
    """Read what a request sends; None if it is no request to a model."""
    value = as_json(value)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 and isinstance(value[0], list) else value  # LangChain: one batch
        return read_turns(value, loc, problems) if value and is_turn(value[0]) else None
    if not isinstance(value, Mapping) or depth >= MAX_DEPTH:
        return None
    listed = next((key for key in LISTS if isinstance(value.get(key), list)), None)
    turns = read_request(value[listed], (*loc, listed), problems, depth + 1) if listed else None
    said = next((key for key in TEXTS if isinstance(value.get(key), str)), None)
    if said is not None:
        turns = [*(turns or []), *turns_of("user", value[said], (*loc, said), problems)]
    for key in INNER if turns is None else ():
        turns = turns or read_request(value.get(key), (*loc, key), problems, depth + 1)
    system = next((key for key in SYSTEMS if value.get(key)), None)
    if turns is None or system is None:
        return turns
    return [*turns_of("system", value[system], (*loc, system), problems), *turns]


def read_response(
    value: object, loc: Loc, problems: list[Problem], depth: int = 0, *, packed: bool = True
) -> list[Turn]:
    """Read the answer in a response, whatever stands around it.

    `packed`: objects are written as JSON in texts here; else a text of JSON may be what the model answered.
    """
    if isinstance(value, str):
        return _read_text(value, loc, problems, depth, packed=packed)
    if depth >= MAX_DEPTH or not isinstance(value, list | Mapping):
        return []
    if is_turn(value):
        return read_message(value, loc, problems) if isinstance(value, Mapping) else []
    if isinstance(value, list):
        return _read_answers(value, loc, problems, depth)
    turns = _read_inner(value, loc, problems, depth)
    return (
        [turn._replace(learnt=False) if turn.role == "assistant" else turn for turn in turns]
        if is_cut(value)
        else turns
    )


def _read_inner(value: Mapping[str, object], loc: Loc, problems: list[Problem], depth: int) -> list[Turn]:
    key = next((key for key in ANSWERS if value.get(key) is not None), None)
    if key in ("content", "parts"):
        return turns_of("assistant", value[key], (*loc, key), problems)
    return read_response(value[key], (*loc, key), problems, depth + 1, packed=False) if key else []


def with_answers(asked: list[Turn], answers: list[Turn]) -> list[Turn]:
    """Return what was asked and answered. An answer may repeat the question, or end one that the request began."""
    repeats = [(t.role, t.text) for t in answers[: len(asked)]] == [(t.role, t.text) for t in asked]
    if repeats and len(answers) > len(asked):
        return answers
    begun = asked and answers and asked[-1].role == answers[0].role == "assistant" and not asked[-1].calls
    if not begun:
        return [*asked, *answers]
    return [*asked[:-1], answers[0]._replace(text=asked[-1].text + answers[0].text), *answers[1:]]


def _read_text(text: str, loc: Loc, problems: list[Problem], depth: int, *, packed: bool) -> list[Turn]:
    """Read a response that is a text: the answer, the events of a stream, or JSON."""
    if is_stream(events := events_of(text)):
        return _streamed(events, loc, problems)
    found = as_json(text)
    if isinstance(found, str) or not (packed or _is_envelope(found)):
        return turns_of("assistant", text, loc, problems)
    return read_response(found, loc, problems, depth)


def _read_answers(values: Sequence[object], loc: Loc, problems: list[Problem], depth: int) -> list[Turn]:
    """Read a list of messages, of parts, or of the one answer that was asked for."""
    if values and is_turn(values[0]):
        return read_turns(values, loc, problems)
    if is_stream(values):
        return _streamed(values, loc, problems)
    if len(values) == 1:
        return read_response(values[0], (*loc, 0), problems, depth + 1, packed=False)
    if all(isinstance(part, Mapping) and "type" in part for part in values):
        return turns_of("assistant", values, loc, problems)
    problems.append(Problem(loc, "has several answers; keep one", "shape"))
    return []


def _is_envelope(value: object) -> bool:
    """Tell whether the JSON in a text is what a server wrote around an answer, and no answer that is JSON itself."""
    if isinstance(value, list):
        return bool(value) and (is_turn(value[0]) or is_stream(value) or _is_envelope(value[0]))
    if not isinstance(value, Mapping):
        return False
    return is_turn(value) or any(isinstance(value.get(key), list | Mapping) for key in ENVELOPES)


def _streamed(events: Sequence[object], loc: Loc, problems: list[Problem]) -> list[Turn]:
    text = text_of(events)
    if text is None:
        problems.append(Problem(loc, "is a stream that calls tools or has several answers: log it as one", "tools"))
        return []
    return turns_of("assistant", text, loc, problems)


def is_turn(value: object) -> bool:
    """Tell whether a value is a message, or what a program wraps around one."""
    if not isinstance(value, Mapping):
        return False
    typed = value.get("type") in ("reasoning", "function_call", "function_call_output")
    held = value.get("data")
    wrapped = value.get("lc") is not None or (isinstance(held, Mapping) and "spans" not in held)  # those are of a trace
    return typed or wrapped or is_message(value)


def as_json(value: object) -> object:
    """Return what a text holds that is a JSON list or object, as in the cells of a table; else the value itself."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_json(value.encode())
    except (BadJson, UnicodeEncodeError):  # a text that begins like JSON, or half of a surrogate pair in it
        return value
