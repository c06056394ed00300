"""What can go wrong with one call, and what it means: try again, give up this request, or tell the user.

A server's message may quote the request, so only its status and its short codes are ever repeated.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

from tuneline.errors import Fault, LlmRejected, UserError

PUSHBACK = (429, 503, 529)
"""Too many requests, unavailable, overloaded: the server wants fewer calls."""

GATEWAY_TIMEOUTS = (408, 504, 524)
"""Somebody in between grew tired of waiting; the model may have done its work."""

_CODE = re.compile(r"(?=.{1,60}$)[a-z]+(?:[_.][a-z]+|\[[0-9]+\])*")  # like context_length_exceeded, messages[0].role
_TOO_LONG = re.compile(r"context.{0,10}(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)
_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_BLOCKED_CODES = {"content_filter", "content_policy_violation", "invalid_prompt"}
_CONFIG_CODES = {"model_not_found", "unsupported_parameter", "unsupported_value", "invalid_api_key"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached"}


def fault_of(error: APIError, model: str) -> Exception:
    """Return what an error of the SDK means: Fault, LlmRejected or UserError."""
    if isinstance(error, APITimeoutError):
        return Fault("no answer in time", paid=True)
    if isinstance(error, APIConnectionError):
        return Fault(f"no connection ({type(error.__cause__).__name__})")
    if not isinstance(error, APIStatusError):
        return Fault("the answer is not a chat completion", paid=True)
    return _fault_of_status(error, model, {str(error.code), str(error.type)})


def _fault_of_status(error: APIStatusError, model: str, codes: set[str]) -> Exception:
    detail = _detail(error)
    if error.status_code in (301, 302, 307, 308, 401, 403, 404) or codes & (_CONFIG_CODES | _QUOTA_CODES):
        return UserError(f"model {model}: {_server(error)} answers {detail}: {_way_out(error.status_code, codes)}")
    if error.status_code in PUSHBACK:
        return Fault(detail, pushback=True, wait_s=_retry_after(error.response.headers))
    if error.status_code >= 500 or error.status_code in (408, 409):
        paid = error.status_code in GATEWAY_TIMEOUTS
        return Fault(detail, paid=paid, wait_s=_retry_after(error.response.headers))
    if error.status_code == 413 or codes & _TOO_LONG_CODES or _TOO_LONG.search(error.message):
        return LlmRejected("too_long", detail)
    return LlmRejected("blocked" if codes & _BLOCKED_CODES else "failed", detail)


def _detail(error: APIStatusError) -> str:
    said = [str(part) for part in (error.type, error.code, error.param) if part is not None]
    return " ".join([f"HTTP {error.status_code}", *dict.fromkeys(part for part in said if _CODE.fullmatch(part))])


def _server(error: APIStatusError) -> str:
    url = error.request.url
    return f"{url.scheme}://{url.host}{f':{url.port}' if url.port else ''}"


def _way_out(status: int, codes: set[str]) -> str:
    if codes & _QUOTA_CODES:
        return "the account has no quota left; top it up, then run the same command again"
    if status == 401 or "invalid_api_key" in codes:
        return "the key is missing or wrong; set the variable that `api_key_env` names"
    if status == 403:
        return "this key may not use the model; choose another `model` or key"
    if status == 404 or "model_not_found" in codes:
        return "check `model`, and that `base_url` ends like …/v1"
    if status < 400:
        return "the address leads elsewhere; give the one it leads to as `base_url`"
    return "the model refuses a setting; change it or leave it out (for `temperature`: null)"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `retry-after-ms` or `retry-after` (seconds or a date), None when neither can be read."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        if "retry-after" not in headers:
            return None
        value = headers["retry-after"].strip()
        seconds = float(value) if re.fullmatch(r"[0-9.]+", value) else _until(value)
        return max(0.0, seconds)
    except ValueError:
        return None


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp() - time.time()
