"""Limits that servers announce beside their answers: how many calls or tokens are left, and when there are more.

OpenAI, Azure, Groq and xAI write `x-ratelimit-remaining-requests`, Anthropic `anthropic-ratelimit-requests-remaining`,
Mistral `x-ratelimit-remaining-req-minute`, others the draft's `ratelimit-remaining`.
What cannot be read is passed over.
"""

from __future__ import annotations

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from tuneline.stage import Usage

_NAME = re.compile(
    r"(?:x-|anthropic-)?rate-?limit-(?:(?P<field>limit|remaining|reset)(?:-(?P<of>[a-z-]{1,40}))?"
    r"|(?P<of2>[a-z-]{1,40})-(?P<field2>limit|remaining|reset))"
)
_WINDOWS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_DURATION = re.compile(
    r"(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?"
)
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


class Announced(NamedTuple):
    """A limit of calls, or of tokens."""

    name: str
    tokens: bool
    limit: float
    remaining: float
    per_s: float
    """How many come back in a second."""


def read_announced(headers: Mapping[str, str]) -> list[Announced]:
    """Return the limits in the headers of an answer; their names are in lower case."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for name, value in headers.items():
        match = _NAME.fullmatch(name)
        if match:
            field, of = match["field"] or match["field2"], match["of"] or match["of2"] or ""
            found[of][field] = value
    return list(_limits(found))


def _limits(found: Mapping[str, Mapping[str, str]]) -> Iterator[Announced]:
    for of, fields in found.items():
        limit, remaining = _number(fields.get("limit", "")), _number(fields.get("remaining", ""))
        tokens = "token" in of
        if limit is None or remaining is None or limit <= 0 or not (tokens or not of or "req" in of):
            continue
        remaining = min(remaining, limit)
        window = next((seconds for unit, seconds in _WINDOWS.items() if unit in of), None)
        yield Announced(of, tokens, limit, remaining, limit / (window or _window(limit - remaining, limit, fields)))


def _window(used: float, limit: float, fields: Mapping[str, str]) -> float:
    """Return in how many seconds an empty bucket is full; when little was used, rounding would distort it."""
    reset = read_seconds(fields.get("reset", ""))
    if reset is None or reset <= 0 or used < limit / 4:
        return 60.0
    return min(86400.0, max(1.0, limit * reset / used))


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d{1,6})?", text.strip()) else None


def read_seconds(text: str) -> float | None:
    """Read `1m30.5s`, `20ms`, seconds, or a moment: seconds or milliseconds since 1970, or RFC 3339."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        return number if number < 1e8 else number / (1000 if number > 1e11 else 1) - time.time()
    match = _DURATION.fullmatch(text)
    if match and text:
        return sum(float(part) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
    try:
        return datetime.fromisoformat(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


class _Gate(NamedTuple):
    number: int
    at: float
    remaining: float
    per_s: float


class Gates:
    """What is left of every announced limit, in calls, after those that were begun since.

    A limit of tokens counts calls as large as the latest were on average. Anthropic limits `input-tokens`, without what
    came from its cache, and `output-tokens` apart; elsewhere a call counts with all its tokens.
    """

    def __init__(self, longest_wait_s: float) -> None:
        self._longest = longest_wait_s
        self._gates: dict[str, _Gate] = {}
        self._fresh = self._cached = self._output = 0.0
        self._heard = 0

    def hear(self, number: int, at: float, announced: Sequence[Announced], usage: Usage) -> None:
        """Take what the answer to call `number`, begun at `at`, announced, and what the call took."""
        if usage.input_tokens or usage.output_tokens:
            self._heard = min(self._heard + 1, 10)
            fresh = usage.input_tokens - min(usage.cached_tokens, usage.input_tokens)
            self._fresh += (fresh - self._fresh) / self._heard
            self._cached += (usage.cached_tokens - self._cached) / self._heard
            self._output += (usage.output_tokens - self._output) / self._heard
        for it in announced:
            known, each = self._gates.get(it.name), self._each(it)
            if (known and known.number > number) or each <= 0:
                continue
            self._gates[it.name] = _Gate(number, at, it.remaining / each, it.per_s / each)

    def _each(self, limit: Announced) -> float:
        """Return what a call takes of a limit, 0 while that is not known."""
        if not limit.tokens:
            return 1.0
        if "input" in limit.name:
            return self._fresh
        return self._output if "output" in limit.name else self._fresh + self._cached + self._output

    def next(self, sent: int, last: float) -> float:
        """Return when all limits allow the call after `sent` others, the last of which began at `last`."""
        there = (it.at + (sent - it.number - it.remaining) / it.per_s for it in self._gates.values())
        return min(last + self._longest, max(there, default=-math.inf))
