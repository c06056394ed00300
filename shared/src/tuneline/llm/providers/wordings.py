"""How OpenAI-compatible servers word what they refuse: codes, names of fields, and phrases, collected from many.

What a server says may quote a transcript, so a phrase is looked for only where `refusals` says that it may be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tuneline.llm.providers.provider import KEY, MODEL, MONEY, NAME

API_VERSION = "the server does not take this version of its API; change `api_version`, or set it if it is missing"
MEMORY = "the server has too little memory for the model; use a smaller one, or give it more"
STREAM = "it answers with this model only in a stream; use another `model`"

TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
BLOCKED_CODES = {"content_filter", "content_policy_violation", "invalid_prompt", "data_inspection_failed"}
RATE_CODES = {"rate_limit_error", "rate_limit_exceeded"}
NAME_CODES = {
    "model_not_found", "model_not_supported", "DeploymentNotFound", "unknown_model", "invalid_model",
    "model_decommissioned", "model_not_available", "OperationNotSupported",
}  # fmt: skip
MODEL_CODES = {"model_terms_required", "unsupported_country_region_territory", "blocked_api_access"}
SETTING_CODES = {"unsupported_parameter", "unsupported_value"}
MONEY_CODES = {
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "exceeded_current_quota_error",
    "Arrearage", "budget_exceeded", "NOT_ENOUGH_BALANCE",
}  # fmt: skip
SHOWN = TOO_LONG_CODES | BLOCKED_CODES | NAME_CODES | MODEL_CODES | SETTING_CODES | MONEY_CODES | {
    "invalid_request_error", "authentication_error", "permission_error", "permission_denied", "not_found_error",
    "rate_limit_error", "rate_limit_exceeded", "requests", "tokens", "server_error", "internal_server_error",
    "api_error", "overloaded_error", "timeout_error", "unavailable_error", "not_supported_error", "invalid_api_key",
    "invalid_value", "invalid_type", "unknown_parameter", "missing_required_parameter", "json_validate_failed",
    "extra_forbidden", "BadRequestError", "NotFoundError", "InternalServerError", "account_deactivated",
    "PRECONDITION_FAILED", "RESOURCE_EXHAUSTED", "overloaded", "validation", "model", "messages", "temperature",
    "seed", "max_tokens", "max_completion_tokens", "response_format", "top_p", "top_k", "min_p", "chat_template_kwargs",
}  # fmt: skip
"""Codes, types and fields that may be repeated; what a server says beside them could be words of a transcript."""

NOT_SAID = ("input", "url", "failed_generation")
"""Where an error repeats what it was sent, or what the model wrote."""

NAMES: Mapping[str, str] = {
    "temperature": r"temperature", "seed": r"seed", "max_tokens": r"max_tokens",
    "top_p": r"top[_ ]?p", "top_k": r"top[_ ]?k", "min_p": r"min[_ ]?p",
    "chat_template_kwargs": r"chat_template_kwargs",
    "max_completion_tokens": r"max_completion_tokens",
    "response_format": r"response_?format|json_?schema|json schema|json[ _]object|json mode|structured[ _-]outputs?"
    r"|guided[ _](?:json|decoding)|grammar|verbose_json",
}  # fmt: skip
"""How servers call the fields that we send."""
SIZE = re.compile(
    r"too (?:large|high|big|long|many)|exceed|less than|greater|at most|maximum|range|limit|<=|larger|up to|between"
    r"|in \[",
    re.I,
)
NOT_TAKEN = re.compile(
    r"not (?:currently )?(?:be )?(?:support|permitted|allowed|available|recognized|implemented|enabled|compatible)|"
    r"n[o']t support|unsupported|unknown|unrecogni[sz]ed|unexpected|invalid|incorrect|extra|forbidden|deprecated"
    r"|must be|must contain|only (?:the )?default|only [\w.=]+ is|only support|cannot be|can't be|not a valid"
    r"|does not match|disabled|unavailable|incompatible|literal_error|requires"
    r"|fail(?:ed|s) to (?:parse|compile|convert|initialize)|error parsing",
    re.I,
)
OUTPUT = re.compile(
    r"max_(?:completion_|new_|output_)?tokens|maxOutputTokens|maximum tokens you requested"
    r"|(?:output|completion|generated) tokens",
    re.I,
)
TOO_LONG = re.compile(
    r"context.{0,10}(?:length|size|window)|maximum (?:context|prompt length|input length)|too many tokens"
    r"|(?:prompt|input|request|messages?) (?:is|are) too (?:long|large)|too large for model|reduce the length"
    r"|inputs` must have less than",
    re.I,
)
CONTEXT = (
    r"context[ _]?(?:length|size|window)[^0-9]{0,30}([0-9]+)", r"([0-9]+)[ -](?:tokens? )?maximum context",
    r"maximum (?:prompt|input) length is ([0-9]+)", r"max_new_tokens` must be <= ([0-9]+)",
    r"maximum (?:is|of) ([0-9]+) tokens",
)  # fmt: skip
PROMPT = (
    r"([0-9]+) (?:tokens? )?(?:in|from|of) (?:the )?(?:messages|inputs?|prompt|text)",
    r"([0-9]+) (?:`inputs`|input|prompt) tokens",
    r"prompt contains ([0-9]+)", r"(?:request|prompt|input) \(([0-9]+) tokens", r"request contains ([0-9]+) tokens",
    r"prompt is (?:too long: )?([0-9]+)", r"got ([0-9]+) tokens", r"input tokens?[ (:=]{1,3}([0-9]+)",
)  # fmt: skip
LIMIT, REQUESTED = (r"limit:? ([0-9]+)",), (r"requested:? ([0-9]+)",)
RATE = re.compile(r"tokens per (?:min|day|hour)|\b[TI]P[MD]\b|rate.?limit", re.I)
A_DAY = re.compile(r"per[ -]?day|\b[RT]PD\b|daily", re.I)
WAIT = re.compile(
    r"(?:try again|retry) (?:in|after) "
    r"((?:[0-9]{1,6}(?:\.[0-9]{1,9})?(?:d|h|ms|m|s))+|[0-9]{1,6}(?:\.[0-9]{1,6})?(?= seconds?))",
    re.I,
)
MONEY_WORDS = re.compile(
    r"insufficient[ _](?:balance|credits?|funds|quota)|(?:out of|no|enough|more) credits|current quota|credit balance"
    r"|payment required|billing|arrears|overdue|balance is insufficient|not enough balance|call volume quota"
    r"|trial key|(?:usage|spend(?:ing)?|budget|key) limit (?:exceeded|reached)|spending limit|failure to pay"
    r"|openrouter_(?:credits|key_limit|\w{1,20}_budget)",
    re.I,
)
NO_MONEY = re.compile(r"\byour? credit balance is too low|insufficient (?:account )?(?:balance|credits)\b", re.I)
NO_QUOTA = re.compile(r"limit: 0\b(?!\.)")
"""How Gemini says that an account has none of a model, beside a wait that would not help."""
OUR_FAULTS = (
    (re.compile(r"budget has been exceeded", re.I), MONEY),
    (re.compile(r"api key (?:is )?(?:not valid|invalid|expired)|(?:invalid|incorrect) api key", re.I), KEY),
    (re.compile(r"not a valid model|model not exist|(?:invalid|unknown) model\b", re.I), NAME),
    (re.compile(r"^the model .{1,150}(?:decommissioned|retired|discontinued|no longer supported)", re.I | re.M), NAME),
    (re.compile(r"^\"[^\"\n]{1,120}\" does not support (?:chat|generate|completions?)\b", re.I | re.M), NAME),
    (re.compile(r"^the model does not support (?:chat|completions?|transcriptions?)\b", re.I | re.M), NAME),
    (re.compile(r"^unable to access non-serverless model", re.I | re.M), NAME),
    (re.compile(r"^the \w{1,30} operation does not work with the specified model", re.I | re.M), NAME),
    (re.compile(r"^the model .{1,150}requires terms acceptance", re.I | re.M), MODEL),
    (re.compile(r"^(?:the |missing |unsupported |invalid )?(?:required )?api[- ]version", re.I | re.M), API_VERSION),
    (re.compile(r"^this model only supports? stream", re.I | re.M), STREAM),
)
"""What the beginning of a 400 may say of us, whatever its codes are."""
MODEL_IS_DOWN = re.compile(
    r"^(?:error: )?(?:the )?model (?:has )?(?:crashed|(?:is |was )?unloaded)|^(?:error: )?failed to load model",
    re.I | re.M,
)
"""How LM Studio begins a 400 when its own model is the trouble."""
TOO_LITTLE_MEMORY = re.compile(r"requires more (?:system |gpu )?memory", re.I)
CAUSES = (
    (MODEL_IS_DOWN, "the model crashed, or does not load"),
    (re.compile(r"runner process has terminated|engine.{0,20}dead", re.I), "the model crashed"),
    (re.compile(r"out of memory", re.I), "the server is out of memory"),
    (re.compile(r"loading(?: the)? model|is currently loading", re.I), "the model is loading"),
)
"""What a server's own trouble may be repeated as."""
PATH = re.compile(
    r"not found|unexpected endpoint|(?:unknown|invalid|no such|no) (?:url|path|route|endpoint)|cannot post", re.I
)
LARGE = re.compile(r"(?:request|input|prompt).{0,20} too (?:large|long)", re.I)
SYSTEM = re.compile(
    r"system.{0,20}(?:role|messages?|prompt|instruction).{0,40}(?:not|un)[ -]?(?:support|allow|permit|enabled)"
    r"|roles? must alternate|does not support system",
    re.I,
)
