"""Spans of OpenTelemetry with the messages of a call of a model among their attributes.

By OpenTelemetry's own conventions (`gen_ai.…`, of today and before) or OpenInference's (`llm.…`), as objects, as OTLP's
list of keys and values, or as columns of a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tuneline.data.reading.logs.calls import as_json
from tuneline.parsing.problems import Loc

Said = tuple[Loc, Mapping[str, object]]
"""A message with role and content, and where it stands."""

ASKED, ANSWERED = "gen_ai.input.messages", "gen_ai.output.messages"
SYSTEM = "gen_ai.system_instructions"
_NUMBERED = re.compile(
    r"(?:gen_ai\.(?P<side>prompt|completion)|llm\.(?P<way>input|output)_messages)"
    r"\.(?P<number>\d{1,4})\.(?:message\.)?(?P<key>role|content)"
)
_LISTED = re.compile(r"(?:attributes[._])?llm[._](?:input|output)_messages")
"""OpenInference's lists: a key of an object, or a column of a table."""


def is_span(record: Mapping[str, object]) -> bool:
    """Tell whether a record is a span with the messages of a call."""
    return any(name.startswith("gen_ai.") or ("llm" in name and _LISTED.match(name)) for name in attributes_of(record))


def read_span(record: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    """Yield the messages of a span, in their order."""
    attributes = attributes_of(record)
    if ASKED in attributes or ANSWERED in attributes:
        yield from _named(attributes, loc)
        return
    numbered: dict[tuple[bool, int, str], dict[str, object]] = {}
    for name, value in attributes.items():
        if match := _NUMBERED.fullmatch(name):
            answer = match["side"] == "completion" or match["way"] == "output"
            where = name.removesuffix(f".{match['key']}")
            numbered.setdefault((answer, int(match["number"]), where), {})[match["key"]] = value
    for (answer, _, where), message in sorted(numbered.items(), key=lambda item: item[0]):
        yield (*loc, where), {"role": "assistant", **message} if answer else message
    if not numbered:
        yield from _listed(attributes, loc)


def attributes_of(record: Mapping[str, object]) -> Mapping[str, object]:
    """Return the attributes of a span: an object, nested or not, or OTLP's list of keys and values."""
    found = record.get("attributes", record)
    if isinstance(found, Mapping):
        inner = found.get("llm")
        if isinstance(inner, Mapping) and "input_messages" in inner:
            return {f"llm.{key}": value for key, value in inner.items()}
        return found
    pairs: dict[str, object] = {}
    for pair in found if isinstance(found, list) else []:
        value = pair.get("value") if isinstance(pair, Mapping) else None
        if isinstance(value, Mapping):
            pairs[str(pair.get("key"))] = next(iter(value.values()), None)
    return pairs


def _named(attributes: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    if system := as_json(attributes.get(SYSTEM)):
        yield (*loc, SYSTEM), {"role": "system", "content": system}
    for key in (ASKED, ANSWERED):
        yield from _messages(attributes, key, loc)


def _listed(attributes: Mapping[str, object], loc: Loc) -> Iterator[Said]:
    for key in sorted(filter(_LISTED.fullmatch, attributes), key=lambda key: "output" in key):
        for where, item in _messages(attributes, key, loc):
            inner = item.get("message")
            bare = {name.removeprefix("message."): value for name, value in item.items()}
            yield where, inner if isinstance(inner, Mapping) else bare


def _messages(attributes: Mapping[str, object], key: str, loc: Loc) -> Iterator[Said]:
    listed = as_json(attributes.get(key))
    for place, message in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(message, Mapping):
            yield (*loc, key, place), message
