"""Answers of servers that go on with a text, for `serve_openai`: llama-server's own form, and OpenAI's older one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kit.scripted_openai import Answer, Call

JSON = {"content-type": "application/json"}


def native(call: Call, text: str = " Hello.", *, top: Mapping[str, float] | None = None, **changed: Any) -> Answer:
    """llama-server's answer to `/completion`: it says what it used, in 32 bits; `changed` replaces fields."""
    used = {name: value for name, value in call.body.items() if name not in ("prompt", "cache_prompt")}
    used |= {name: value * (1 + 1e-8) for name, value in used.items() if isinstance(value, float)}
    body: dict[str, Any] = {
        "content": text, "stop_type": "eos", "stopping_word": "", "tokens_evaluated": 9, "tokens_predicted": 3,
        "generation_settings": {"mirostat": 0, "stop": [], **used}, "timings": {"cache_n": 0},
    }  # fmt: skip
    if top is not None:
        listed = [
            {"id": n, "token": token, "bytes": [], "logprob": value} for n, (token, value) in enumerate(top.items())
        ]
        body["completion_probabilities"] = [{"id": 0, "token": "x", "logprob": -1.0, "top_logprobs": listed}]
    return Answer(200, json.dumps(body | changed).encode(), JSON)


def choice(
    text: object = " Hello.", *, top: Mapping[str, float] | None = None, usage: object = None, **changed: Any
) -> Answer:
    """An answer in OpenAI's older form, `changed` replaces fields of its choice."""
    said: dict[str, Any] = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
    if top is not None:
        said["logprobs"] = {"tokens": ["x"], "token_logprobs": [-1.0], "top_logprobs": [dict(top)], "text_offset": [0]}
    counted = usage or {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    body = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [said | changed]}
    return Answer(200, json.dumps(body | {"usage": counted}).encode(), JSON)
