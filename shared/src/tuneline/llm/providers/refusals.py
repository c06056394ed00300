"""What OpenAI-compatible servers say when they take no request, each in its own words: read, never repeated.

A refusal of our own request (a setting, its size, money, a rate) is a fact about us; only what is left says something
about the transcript. What a server says may quote the request, so no word of it leaves this module: only its status,
and codes and fields that are known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from tuneline.errors import Fault, LlmRejected
from tuneline.llm.announced import read_seconds
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers import wordings
from tuneline.llm.providers.provider import (
    A_DAY_S,
    ADDRESS,
    KEY,
    MODEL,
    MONEY,
    NAME,
    SETTING,
    not_taken,
    retry_after,
    temporary_fault,
)
from tuneline.llm.providers.strangers import STATUS_OF

MOST_SAID = 4000
"""Characters of a server's words that are looked at; what it quotes of a request comes last, if at all."""

_LEAST_ANSWER = 1024
"""Tokens that an answer must have room for beside its prompt, or what is said for less of them."""


class Refusal(NamedTuple):
    """An error as it came: its status (or the one that its body names), headers, codes, fields and words."""

    status: int
    headers: Mapping[str, str]
    codes: tuple[str, ...]
    fields: tuple[str, ...]
    said: str
    begun: bool = False
    """An answer had begun, which may be billed."""

    @property
    def detail(self) -> str:
        """What may be shown of it."""
        shown = [word for word in (*self.codes, *self.fields) if word in wordings.SHOWN]
        codes = " ".join([f"HTTP {self.status}", *dict.fromkeys(shown)])
        causes = (cause for words, cause in wordings.CAUSES if self.is_of_the_server and words.search(self.said))
        cause = next(causes, "")
        return f"{codes}: {cause}" if cause else codes

    @property
    def is_of_the_server(self) -> bool:
        """Whether the server's own model is the trouble, which time may mend."""
        return self.status >= 500 or (self.status == 400 and bool(wordings.MODEL_IS_DOWN.search(self.said)))

    @property
    def is_page(self) -> bool:
        """Whether somebody in between answers with a web page."""
        return self.said.lstrip()[:1] == "<"

    @property
    def is_of_the_path(self) -> bool:
        """Whether nobody is at the path, rather than nobody by the model's name."""
        named = {*self.codes} & wordings.NAME_CODES or re.search(r"\bmodel\b", self.said, re.I)
        return self.status in (404, 405) and not named and (not self.codes or bool(wordings.PATH.search(self.said)))

    @property
    def is_of_the_system_role(self) -> bool:
        return self.status in (400, 422, 500) and bool(wordings.SYSTEM.search(self.said))


class Refused(Exception):  # noqa: N818  (only the provider sees it)
    """A server took no request, and it is not yet known what that means."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def read_refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal:
    """Read the body of an error, in whatever form."""
    found: list[tuple[str, str]] = []
    try:
        _walk(json.loads(body), "message", found, depth=8)
    except (ValueError, RecursionError):  # text, or a page of somebody in between
        found = [("message", body[:MOST_SAID].decode("utf-8", "replace"))]
    codes = [text for name, text in found if name in ("code", "type", "status", "error_type", "error_code")]
    inner = [int(code) for code in codes if re.fullmatch("[45][0-9][0-9]", code)]
    said = "\n".join(text for name, text in found if name not in ("loc", "param"))[:MOST_SAID]
    if status < 300:
        inner += [STATUS_OF[code] for code in codes if code in STATUS_OF]
        status = next(iter(inner), 404 if wordings.PATH.search(said) else status)
    return Refusal(
        status, headers, tuple(dict.fromkeys(codes)),
        tuple(text for name, text in found if name in ("param", "loc")), said,
    )  # fmt: skip


def refused(status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """Return what an answer that is an error is raised as."""
    return Refused(read_refusal(status, headers, body))


def _walk(value: object, name: str, found: list[tuple[str, str]], depth: int) -> None:
    if depth == 0 or len(found) >= 200:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in wordings.NOT_SAID:
                _walk(inner, name if key == "detail" else str(key), found, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(inner, name, found, depth - 1)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and depth > 4:
        try:
            _walk(json.loads(value), name, found, depth - 2)
        except (ValueError, RecursionError):
            found.append((name, value[:MOST_SAID]))
    elif isinstance(value, str | int) and not isinstance(value, bool):
        found.append((name, str(value)[:MOST_SAID]))


def unwanted(refusal: Refusal, sent: Collection[str]) -> str | None:
    """Return the field of those `sent` that the server does not take, None if it is none or not clear which."""
    if refusal.status not in (400, 404, 422, 500, 501):
        return None
    located = {part for field in refusal.fields for part in re.split(r"[.\[\]]", field)}
    named = [name for name in sent if name in located or ("json_schema" in located and name == "response_format")]
    if not named and wordings.NOT_TAKEN.search(refusal.said):
        named = list(_mentioned(refusal.said, sent))
    if refusal.status == 500 and not wordings.NOT_TAKEN.search(refusal.said):
        return None
    return named[0] if named else None


def _mentioned(said: str, sent: Collection[str]) -> Iterator[str]:
    """Yield the fields of `sent` in the order in which they are mentioned."""
    called = {name: rf"(?<![\w-])(?:{wordings.NAMES.get(name, name)})(?![\w-])" for name in sent}
    places = ((re.search(pattern, said[:500], re.I), name) for name, pattern in called.items())
    yield from (name for match, name in sorted(((m, n) for m, n in places if m), key=lambda it: it[0].start()))


def fitting_tokens(refusal: Refusal, asked: int) -> int | None:
    """Return the tokens of an answer that the server may take instead of `asked`, None if their number is no matter.

    0 is none at all: the prompt alone is too long.
    """
    said = refusal.said
    if refusal.status in (413, 429):
        over = (_first(wordings.REQUESTED, said) or 0) - (_first(wordings.LIMIT, said) or 0)
        is_size = over > 0 and wordings.RATE.search(said) and wordings.LARGE.search(said)
        return max(0, asked - over - asked // 16) if is_size else None
    too_long = {*refusal.codes} & wordings.TOO_LONG_CODES or wordings.TOO_LONG.search(said)
    too_much = _is_size_of_answers(said) and "unsupported_parameter" not in refusal.codes
    if refusal.status not in (400, 422, 500) or not (too_long or too_much):
        return None
    prompt, context = _first(wordings.PROMPT, said), _first(wordings.CONTEXT, said)
    if prompt and context:
        left = context - prompt
        enough = left >= min(asked, _LEAST_ANSWER)
        return min(left, max(_LEAST_ANSWER, left - prompt)) if enough else 0  # for prompts of twice its length, too
    if refusal.status == 500:
        return None
    if too_much:
        return _limit_of_answers(said, asked)
    return _LEAST_ANSWER if asked > _LEAST_ANSWER and not {*refusal.codes} & wordings.TOO_LONG_CODES else 0


def _is_size_of_answers(said: str) -> bool:
    return bool(wordings.OUTPUT.search(said) and wordings.SIZE.search(said))


def _limit_of_answers(said: str, asked: int) -> int:
    exclusive = bool(re.search(r"exclusive|[0-9]\)", said))
    limits = [int(number) for number in re.findall(r"\b[0-9]{2,7}\b", said)]
    return max((limit - exclusive for limit in limits if 16 < limit < asked), default=asked // 2)


def _first(patterns: Collection[str], said: str) -> int | None:
    plain = re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", said)
    found = (re.search(pattern, plain, re.I) for pattern in patterns)
    return next((int(match[1]) for match in found if match and len(match[1]) < 10), None)


def meaning(config: OpenAiConfig, refusal: Refusal) -> Exception:
    """Return what a refusal means in the end: Fault, LlmRejected or UserError."""
    error = _meaning(config, refusal)
    if isinstance(error, Fault):
        error.paid = error.paid or refusal.begun
    return error


def _meaning(config: OpenAiConfig, refusal: Refusal) -> Exception:
    codes, detail = {*refusal.codes}, refusal.detail
    ordered = retry_after(refusal.headers)
    if refusal.status == 402 and ordered is not None:  # OpenRouter: calls in flight may cost all that is left
        return Fault(detail, pushback=True, wait_s=ordered)
    if way_out := _way_out(refusal, codes):
        return not_taken(config, detail, way_out)
    status = 500 if refusal.is_of_the_server and refusal.status == 400 else refusal.status
    if fault := temporary_fault(429 if codes & wordings.RATE_CODES else status, refusal.headers, detail):
        fault.wait_s = _said_wait(refusal.said) if fault.pushback and fault.wait_s is None else fault.wait_s
        return fault
    if codes & wordings.BLOCKED_CODES or (refusal.status == 403 and "flagged" in refusal.said):
        return LlmRejected("blocked", detail)
    if refusal.status == 413 or codes & wordings.TOO_LONG_CODES or wordings.TOO_LONG.search(refusal.said):
        return LlmRejected("too_long", detail)
    return LlmRejected("failed", detail)


def _said_wait(said: str) -> float | None:
    """Return the seconds of `try again in 1m2.5s`, which some servers say instead of a header.

    A limit of a day that says no more is not worth waiting for.
    """
    match = wordings.WAIT.search(said)
    return read_seconds(match[1]) if match else A_DAY_S if wordings.A_DAY.search(said) else None


def _way_out(refusal: Refusal, codes: set[str]) -> str | None:
    status, said = refusal.status, refusal.said
    if _is_of_money(refusal, codes):
        return MONEY
    if status in (413, 429) and wordings.RATE.search(said) and wordings.LARGE.search(said):
        return "one request is larger than the account's limit of tokens; lower `max_tokens`, or have the limit raised"
    if status == 403 and (codes & wordings.BLOCKED_CODES or "flagged" in said):
        return None
    return _way_to_the_model(refusal, codes) or _setting(refusal, codes)


def _way_to_the_model(refusal: Refusal, codes: set[str]) -> str | None:
    """Return what to do where address, key or model are not what the server has."""
    status, start = refusal.status, refusal.said[:200]
    if codes & wordings.MODEL_CODES:
        return MODEL
    if status in (404, 405) or codes & wordings.NAME_CODES:
        return f"{NAME} (it usually ends with /v1)"
    if status in (401, 403) or "invalid_api_key" in codes:
        return MODEL if status == 403 else KEY
    if status in (400, 500) and wordings.TOO_LITTLE_MEMORY.search(start):
        return wordings.MEMORY
    ours = (out for words, out in wordings.OUR_FAULTS if status == 400 and words.search(start))
    return ADDRESS if status < 400 else next(ours, None)


def _is_of_money(refusal: Refusal, codes: set[str]) -> bool:
    """Whether an account has none; what is said beside a limit of calls only advertises a larger one."""
    status, said = refusal.status, refusal.said
    if status == 402 or codes & wordings.MONEY_CODES or (status == 429 and wordings.NO_QUOTA.search(said)):
        return True
    if status == 400:  # only so: its words may quote a request about bills
        return bool(wordings.NO_MONEY.search(said))
    if status == 429 and (codes & wordings.RATE_CODES or wordings.WAIT.search(said)):
        return False
    return status in (401, 403, 412, 429) and bool(wordings.MONEY_WORDS.search(said))


def _setting(refusal: Refusal, codes: set[str]) -> str | None:
    if refusal.status not in (400, 422, 501):
        return None
    field = unwanted(refusal, tuple(wordings.NAMES))
    if field and not wordings.TOO_LONG.search(refusal.said):
        return SETTING.format("max_tokens" if field == "max_completion_tokens" else field)
    if codes & wordings.SETTING_CODES:
        return "the model refuses a setting; change it or leave it out (for `temperature`: null)"
    fitting = fitting_tokens(refusal, 2 * _LEAST_ANSWER)
    known = _is_size_of_answers(refusal.said) or _first(wordings.PROMPT, refusal.said)
    return SETTING.format("max_tokens") if fitting and known else None
