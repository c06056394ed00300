"""Answers of servers of chat completions: the text must be found, what stands beside it may have any form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tuneline.errors import Fault
from tuneline.llm.config import OpenAiConfig
from tuneline.llm.prices import Tokens, known_cost
from tuneline.llm.providers.provider import Reply
from tuneline.llm.providers.refusals import Refused, read_refusal
from tuneline.llm.providers.strangers import Stranger
from tuneline.llm.thoughts import storable

MOST_TOKENS = 10**9
MOST_USD = 10**4
"""What no call costs."""

_NAME = re.compile(r"[\w./:@+-]{1,200}")
_COMMENT = re.compile(rb"^:[^\r\n]*", re.MULTILINE)

_NOT = "the answer is not a chat completion but {}"

_ENDS = {"max_tokens": "length", "model_length": "context", "safety": "content_filter", "SAFETY": "content_filter"}
"""How an answer ended, where a server says it otherwise than OpenAI."""


def read_reply(body: bytes, config: OpenAiConfig, *, wanted: bool = False) -> Reply:
    """Read the body of a chat completion; no choice at all is an empty text.

    An answer that is `wanted` by a schema is also taken from where thoughts belong: some servers put it there. Raises
    Refused when it is an error whatever its status says, Stranger when it is something else.
    """
    answer = _read(body)
    choices = answer["choices"]
    choice = object_of(choices[0] if choices else {})
    message = object_of(choice.get("message") or choice.get("delta") or {"content": choice.get("text")})
    begun = bool(_text(message.get("content")))
    if error := answer.get("error") or choice.get("error") or choice.get("finish_reason") == "error":
        raise broken_off(error, begun=begun)
    if not isinstance(message.get("content"), str | list | dict | None):
        raise Stranger(_NOT.format("a message without text"))
    text, thoughts = _text(message.get("content")), _thoughts(message)
    if wanted and not text.strip():  # a schema that became a tool
        text = _tool_arguments(message)
    instead = wanted and not text.strip() and bool(thoughts.strip())
    ended = choice.get("finish_reason")
    usage = object_of(answer.get("usage"))
    tokens = read_tokens(usage)
    return Reply(
        text=storable(thoughts if instead else text),
        finish_reason=_ENDS.get(ended, ended) if isinstance(ended, str) else "",
        refused=isinstance(message.get("refusal"), str) and bool(message["refusal"]),
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cached,
        cost_usd=read_cost(config, usage, tokens),
        cause="" if text.strip() or not thoughts.strip() or instead else "the model only thought, and said nothing",
        model=_name(answer.get("model")),
    )


def _read(body: bytes) -> dict[str, Any]:
    answer = _parsed(body)
    if isinstance(answer, dict) and isinstance(answer.get("choices"), list):
        return answer
    raise _instead(body, answer, _NOT)


def object_in(body: bytes, kind: str, key: str) -> dict[str, Any]:
    """Return the answer in a body, an object with `key`. Raises as `read_reply`; `kind` is what it should be."""
    answer = _parsed(body)
    if isinstance(answer, dict) and key in answer and not _is_error(answer):
        return answer
    raise _instead(body, answer, f"the answer is not a {kind} but {{}}")


def _parsed(body: bytes) -> object:
    """Return what a body says, None where it says nothing that can be read: OpenRouter may begin it with comments."""
    for commented in (False, True):
        with suppress(ValueError, RecursionError):  # then it is a stream, or somebody else's answer
            answer = json.loads(_COMMENT.sub(b"", body) if commented else body)
            return answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    return _joined_stream(body)


def _instead(body: bytes, answer: object, words: str) -> Exception:
    """Return what is to be raised for something else than an answer."""
    if isinstance(answer, dict) and _is_error(answer):
        told = {name: value for name, value in answer.items() if name != "choices"}  # what a model said is no error
        refusal = read_refusal(200, {}, json.dumps(told).encode())
        if refusal.status >= 400:  # an error that does not say so in its status
            return Refused(refusal)
    return Stranger(words.format(_looks(body, answer)))


def broken_off(error: object, *, begun: bool) -> Exception:
    """Return what an error means that stands beside an answer, of which something may be there and billed."""
    refusal = read_refusal(200, {}, json.dumps({"error": error}).encode())
    if refusal.status >= 400:
        return Refused(refusal._replace(begun=begun))
    return Fault("the answer was broken off by an error", paid=True)


def _is_error(answer: Mapping[str, Any]) -> bool:
    return bool(answer.get("error")) or answer.get("object") == "error"


def _joined_stream(body: bytes) -> object:
    """Return the answer in a stream of server-sent events, None if it is none. Raises Fault where it has no end."""
    joined: dict[str, Any] = {"content": "", "reasoning_content": ""}
    ended, usage, error, chunks, of, done = None, None, None, 0, b"", False
    for line in body.splitlines():
        of = line[6:].strip() if line.startswith(b"event:") else of if line.strip() else b""
        done = done or (line.startswith(b"data:") and line[5:].strip() == b"[DONE]")
        if not line.startswith(b"data:") or done:
            continue
        try:
            chunk = object_of(json.loads(line[5:]))
        except (ValueError, RecursionError):
            return None
        choices = chunk.get("choices")
        choice = object_of(choices[0] if isinstance(choices, list) and choices else {})
        delta, chunks = object_of(choice.get("delta")), chunks + 1
        joined["content"] += _text(delta.get("content"))
        joined["reasoning_content"] += _thoughts(delta)
        ended, usage = choice.get("finish_reason") or ended, chunk.get("usage") or usage
        error = error or chunk.get("error") or (chunk if of == b"error" else None)
    if chunks and not (ended or done or error):
        raise Fault("the stream of the answer ended before its end", paid=True)
    whole = {"choices": [{"message": joined, "finish_reason": ended}], "usage": usage, "error": error}
    return whole if chunks else None


def _looks(body: bytes, answer: object) -> str:
    """Return what an answer looks like, in words that quote nothing."""
    start = body.lstrip()[:1]
    if not start or start == b"<":
        return "a web page" if start else "nothing"
    if isinstance(answer, dict):
        apis = {"candidates": "Google's", "content": "Anthropic's", "message": "Ollama's own", "output": "another"}
        own = isinstance(answer.get("content"), str)
        api = "llama-server's own" if own else next((of for key, of in apis.items() if key in answer), None)
        return "an error" if answer.get("error") else f"an answer of {api} API" if api else "an object without choices"
    return "text" if answer is None and body.strip() != b"null" else "another value"


def object_of(value: object) -> dict[str, Any]:
    """Return an object, empty in place of what is none."""
    return value if isinstance(value, dict) else {}


def _text(content: object) -> str:
    """Return the text of a message's content: a text, or a list of parts of which some are thoughts."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict) and "text" not in content:  # the answer itself, as JSON that is not written as text
        return json.dumps(content)
    listed = content if isinstance(content, list) else [content]
    parts = [{"text": part} if isinstance(part, str) else object_of(part) for part in listed]
    texts = [part.get("text") for part in parts if part.get("type") in ("text", "output_text", None)]
    return "".join(text for text in texts if isinstance(text, str))


def _tool_arguments(message: Mapping[str, Any]) -> str:
    """Return what the only tool call of a message is called with, as JSON; empty if there is not exactly one."""
    calls = message.get("tool_calls")
    one = object_of(calls[0]) if isinstance(calls, list) and len(calls) == 1 else {}
    arguments = object_of(one.get("function")).get("arguments")
    return arguments if isinstance(arguments, str) else json.dumps(arguments) if isinstance(arguments, dict) else ""


def _name(value: object) -> str:
    """Return a model's name if it looks like one: it is shown in reports, and a server may say anything."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _thoughts(message: Mapping[str, Any]) -> str:
    found = (message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))
    return next((text for text in found if isinstance(text, str) and text.strip()), "")


def read_tokens(usage: Mapping[str, Any]) -> Tokens:
    """Read the tokens that a call took, under the names that servers have for them.

    xAI and Gemini count thoughts, which are billed, in the total alone.
    """
    prompt = count(usage.get("prompt_tokens", usage.get("input_tokens")))
    cached = count(
        object_of(usage.get("prompt_tokens_details")).get("cached_tokens", usage.get("prompt_cache_hit_tokens"))
    )
    written = count(usage.get("completion_tokens", usage.get("output_tokens")))
    besides = count(usage.get("total_tokens")) - prompt if prompt else 0
    return Tokens(prompt, min(cached, prompt), output=max(written, besides))


def read_cost(config: OpenAiConfig, usage: Mapping[str, Any], tokens: Tokens) -> float | None:
    """Return what a call cost, None if it is not known; OpenRouter says it, as its providers have prices of their own.

    Prices of the configuration come first.
    """
    own = config.input_usd is not None or config.output_usd is not None
    stated = usage.get("cost")
    if not own and _is_of_openrouter(config) and isinstance(stated, float | int) and 0 <= stated < MOST_USD:
        beside = object_of(usage.get("cost_details")).get("upstream_inference_cost") if usage.get("is_byok") else 0.0
        return round(float(stated) + (float(beside) if isinstance(beside, float | int) else 0.0), 9)
    return known_cost(config, tokens)


def _is_of_openrouter(config: OpenAiConfig) -> bool:
    return f".{urlsplit(config.address).hostname}".endswith(".openrouter.ai")


def count(value: object) -> int:
    """Return a count of tokens; what cannot be one is 0."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return 0
    return int(number) if 0 <= number <= MOST_TOKENS else 0
