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

from tuneline.errors import LlmRejected
from tuneline.llm.announced import read_seconds
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.providers.provider import (
    ADDRESS,
    KEY,
    MODEL,
    MONEY,
    NAME,
    SETTING,
    not_taken,
    temporary_fault,
)
from tuneline.llm.providers.strangers import STATUS_OF

MOST_SAID = 4000
"""Characters of a server's words that are looked at; what it quotes of a request comes last, if at all."""

_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_BLOCKED_CODES = {"content_filter", "content_policy_violation", "invalid_prompt", "data_inspection_failed"}
_RATE_CODES = {"rate_limit_error", "rate_limit_exceeded"}
_NAME_CODES = {"model_not_found", "model_not_supported", "DeploymentNotFound", "unknown_model", "invalid_model"}
_SETTING_CODES = {"unsupported_parameter", "unsupported_value"}
_MONEY_CODES = {
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "exceeded_current_quota_error",
    "Arrearage", "budget_exceeded",
}  # fmt: skip
_SHOWN = _TOO_LONG_CODES | _BLOCKED_CODES | _NAME_CODES | _SETTING_CODES | _MONEY_CODES | {
    "invalid_request_error", "authentication_error", "permission_error", "permission_denied", "not_found_error",
    "rate_limit_error", "rate_limit_exceeded", "requests", "tokens", "server_error", "internal_server_error",
    "api_error", "overloaded_error", "timeout_error", "unavailable_error", "not_supported_error", "invalid_api_key",
    "invalid_value", "invalid_type", "unknown_parameter", "missing_required_parameter", "json_validate_failed",
    "extra_forbidden", "BadRequestError", "NotFoundError", "InternalServerError", "model", "messages", "temperature",
    "seed", "max_tokens", "max_completion_tokens", "response_format", "top_p", "top_k", "min_p", "chat_template_kwargs",
}  # fmt: skip
"""Codes, types and fields that may be repeated; what a server says beside them could be words of a transcript."""

_NAMES: Mapping[str, str] = {
    "temperature": r"temperature", "seed": r"seed", "max_tokens": r"max_tokens",
    "top_p": r"top[_ ]?p", "top_k": r"top[_ ]?k", "min_p": r"min[_ ]?p",
    "chat_template_kwargs": r"chat_template_kwargs",
    "max_completion_tokens": r"max_completion_tokens",
    "response_format": r"response_?format|json_?schema|json schema|json[ _]object|json mode|structured[ _-]outputs?"
    r"|guided[ _](?:json|decoding)|grammar",
}  # fmt: skip
"""How servers call the fields that we send."""
_SIZE = re.compile(
    r"too (?:large|high|big|long|many)|exceed|less than|greater|at most|maximum|range|limit|<=|larger|up to|between"
    r"|in \[",
    re.I,
)
_NOT_TAKEN = re.compile(
    r"not (?:currently )?(?:be )?(?:support|permitted|allowed|available|recognized|implemented|enabled|compatible)|"
    r"n[o']t support|unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|incorrect|extra|forbidden|deprecated"
    r"|must be|only (?:the )?default|only [\w.=]+ is|cannot be|can't be|not a valid|does not match|disabled|unavailable"
    r"|incompatible|literal_error|requires",
    re.I,
)
_OUTPUT = re.compile(
    r"max_(?:completion_|new_|output_)?tokens|maxOutputTokens|maximum tokens you requested"
    r"|(?:output|completion|generated) tokens",
    re.I,
)
_TOO_LONG = re.compile(
    r"context.{0,10}(?:length|size|window)|maximum (?:context|prompt length|input length)|too many tokens"
    r"|(?:prompt|input|request|messages?) (?:is|are) too (?:long|large)|too large for model|reduce the length",
    re.I,
)
_CONTEXT = (
    r"context[ _]?(?:length|size|window)[^0-9]{0,30}([0-9]+)", r"([0-9]+)[ -](?:tokens? )?maximum context",
    r"maximum (?:prompt|input) length is ([0-9]+)", r"max_new_tokens` must be <= ([0-9]+)",
    r"maximum (?:is|of) ([0-9]+) tokens",
)  # fmt: skip
_PROMPT = (
    r"([0-9]+) (?:tokens? )?(?:in|from|of) (?:the )?(?:messages|inputs?|prompt|text)",
    r"([0-9]+) (?:`inputs`|input|prompt) tokens",
    r"prompt contains ([0-9]+)", r"(?:request|prompt|input) \(([0-9]+) tokens", r"request contains ([0-9]+) tokens",
    r"prompt is (?:too long: )?([0-9]+)", r"got ([0-9]+) tokens", r"input tokens?[ (:=]{1,3}([0-9]+)",
)  # fmt: skip
_LIMIT, _REQUESTED = (r"limit:? ([0-9]+)",), (r"requested:? ([0-9]+)",)
_RATE = re.compile(r"tokens per (?:min|day|hour)|\b[TI]P[MD]\b|rate.?limit", re.I)
_WAIT = re.compile(
    r"(?:try again|retry) (?:in|after) "
    r"((?:[0-9]{1,6}(?:\.[0-9]{1,6})?(?:d|h|ms|m|s))+|[0-9]{1,6}(?:\.[0-9]{1,6})?(?= seconds?))",
    re.I,
)
_MONEY = re.compile(
    r"insufficient[ _](?:balance|credits?|funds|quota)|(?:out of|no|enough|more) credits|current quota|credit balance"
    r"|payment required|billing|arrears|overdue",
    re.I,
)
_NO_MONEY = re.compile(r"\byour? credit balance is too low|insufficient (?:account )?(?:balance|credits)\b", re.I)
_OUR_FAULTS = (
    (re.compile(r"budget has been exceeded", re.I), MONEY),
    (re.compile(r"api key (?:is )?(?:not valid|invalid|expired)|(?:invalid|incorrect) api key", re.I), KEY),
    (re.compile(r"not a valid model|model not exist|(?:invalid|unknown) model\b", re.I), NAME),
)
"""What the beginning of a 400 may say of us, whatever its codes are."""
_PATH = re.compile(
    r"not found|unexpected endpoint|(?:unknown|invalid|no such|no) (?:url|path|route|endpoint)|cannot post", re.I
)
_LARGE = re.compile(r"(?:request|input|prompt).{0,20} too (?:large|long)", re.I)
_SYSTEM = re.compile(
    r"system.{0,20}(?:role|messages?|prompt|instruction).{0,40}(?:not|un)[ -]?(?:support|allow|permit|enabled)"
    r"|roles? must alternate|does not support system",
    re.I,
)
_LEAST_ANSWER = 1024
"""Tokens that an answer must have room for beside its prompt, or what is said for less of them."""


class Refusal(NamedTuple):
    """An error as it came: its status (or the one that its body names), headers, codes, fields and words."""

    status: int
    headers: Mapping[str, str]
    codes: tuple[str, ...]
    fields: tuple[str, ...]
    said: str

    @property
    def detail(self) -> str:
        """What may be shown of it."""
        shown = [word for word in (*self.codes, *self.fields) if word in _SHOWN]
        return " ".join([f"HTTP {self.status}", *dict.fromkeys(shown)])

    @property
    def is_of_the_path(self) -> bool:
        """Whether nobody is at the path, rather than nobody by the model's name."""
        named = {*self.codes} & _NAME_CODES or re.search(r"\bmodel\b", self.said, re.I)
        return self.status in (404, 405) and not named and (not self.codes or bool(_PATH.search(self.said)))

    @property
    def is_of_the_system_role(self) -> bool:
        return self.status in (400, 422, 500) and bool(_SYSTEM.search(self.said))


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
        status = next(iter(inner), 404 if _PATH.search(said) else status)
    return Refusal(
        status, headers, tuple(dict.fromkeys(codes)),
        tuple(text for name, text in found if name in ("param", "loc")), said,
    )  # fmt: skip


def _walk(value: object, name: str, found: list[tuple[str, str]], depth: int) -> None:
    if depth == 0 or len(found) >= 200:
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("input", "url"):  # pydantic's echo of what was sent
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
    if not named and _NOT_TAKEN.search(refusal.said):
        named = list(_mentioned(refusal.said, sent))
    if refusal.status == 500 and not _NOT_TAKEN.search(refusal.said):
        return None
    return named[0] if named else None


def _mentioned(said: str, sent: Collection[str]) -> Iterator[str]:
    """Yield the fields of `sent` in the order in which they are mentioned."""
    places = ((re.search(rf"(?<![\w-])(?:{_NAMES.get(name, name)})(?![\w-])", said[:500], re.I), name) for name in sent)
    yield from (name for match, name in sorted(((m, n) for m, n in places if m), key=lambda it: it[0].start()))


def fitting_tokens(refusal: Refusal, asked: int) -> int | None:
    """Return the tokens of an answer that the server may take instead of `asked`, None if their number is no matter.

    0 is none at all: the prompt alone is too long.
    """
    said = refusal.said
    if refusal.status in (413, 429):
        over = (_first(_REQUESTED, said) or 0) - (_first(_LIMIT, said) or 0)
        return max(0, asked - over - asked // 16) if _RATE.search(said) and _LARGE.search(said) and over > 0 else None
    too_long = {*refusal.codes} & _TOO_LONG_CODES or _TOO_LONG.search(said)
    too_much = _OUTPUT.search(said) and _SIZE.search(said) and not {*refusal.codes} & {"unsupported_parameter"}
    if refusal.status not in (400, 422, 500) or not (too_long or too_much):
        return None
    prompt, context = _first(_PROMPT, said), _first(_CONTEXT, said)
    if prompt and context:
        left = context - prompt
        enough = left >= min(asked, _LEAST_ANSWER)
        return min(left, max(_LEAST_ANSWER, left - prompt)) if enough else 0  # for prompts of twice its length, too
    if refusal.status == 500:
        return None
    if too_much:
        return _limit_of_answers(said, asked)
    return _LEAST_ANSWER if asked > _LEAST_ANSWER and not {*refusal.codes} & _TOO_LONG_CODES else 0


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
    codes = {*refusal.codes}
    if way_out := _way_out(refusal, codes):
        return not_taken(config, refusal.detail, way_out)
    status = 429 if codes & _RATE_CODES else refusal.status  # some say it with 400 or 413
    if fault := temporary_fault(status, refusal.headers, refusal.detail):
        fault.wait_s = _said_wait(refusal.said) if fault.pushback and fault.wait_s is None else fault.wait_s
        return fault
    if codes & _BLOCKED_CODES or (refusal.status == 403 and "flagged" in refusal.said):
        return LlmRejected("blocked", refusal.detail)
    if refusal.status == 413 or codes & _TOO_LONG_CODES or _TOO_LONG.search(refusal.said):
        return LlmRejected("too_long", refusal.detail)
    return LlmRejected("failed", refusal.detail)


def _said_wait(said: str) -> float | None:
    """Return the seconds of `try again in 1m2.5s`, which some servers say instead of a header."""
    match = _WAIT.search(said)
    return read_seconds(match[1]) if match else None


def _way_out(refusal: Refusal, codes: set[str]) -> str | None:
    status, said = refusal.status, refusal.said
    plainly = status == 400 and _NO_MONEY.search(said)  # only so: its words may quote a request about bills
    if status == 402 or codes & _MONEY_CODES or plainly or (status in (403, 429) and _MONEY.search(said)):
        return MONEY
    if status in (413, 429) and _RATE.search(said) and _LARGE.search(said):
        return "one request is larger than the account's limit of tokens; lower `max_tokens`, or have the limit raised"
    if status == 403 and (codes & _BLOCKED_CODES or "flagged" in said):
        return None
    if status in (404, 405) or codes & _NAME_CODES:
        return f"{NAME} (it usually ends with /v1)"
    if status in (401, 403) or "invalid_api_key" in codes:
        return MODEL if status == 403 else KEY
    ours = (out for words, out in _OUR_FAULTS if status == 400 and words.search(said[:200]))
    return ADDRESS if status < 400 else next(ours, None) or _setting(refusal, codes)


def _setting(refusal: Refusal, codes: set[str]) -> str | None:
    if refusal.status not in (400, 422, 501):
        return None
    field = unwanted(refusal, tuple(_NAMES))
    if field and not _TOO_LONG.search(refusal.said):
        return SETTING.format("max_tokens" if field == "max_completion_tokens" else field)
    if codes & _SETTING_CODES:
        return "the model refuses a setting; change it or leave it out (for `temperature`: null)"
    fitting = fitting_tokens(refusal, 2 * _LEAST_ANSWER)
    known = (_OUTPUT.search(refusal.said) and _SIZE.search(refusal.said)) or _first(_PROMPT, refusal.said)
    return SETTING.format("max_tokens") if fitting and known else None
